import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { type RunEvent, runSkein, startSkein, stepsOf, tinyJob } from '../skein-process.ts'

const steps = 8
const argsFor = (runDir: string, ...more: string[]) => ['train', tinyJob, '--run-dir', runDir, '--json', ...more]
const train = (runDir: string, ...more: string[]) => runSkein(argsFor(runDir, ...more))

/** From the start of all processes to the first step beyond a torn checkpoint: docs/fault-matrix.md. */
const goneOnWithinMs = 10_000
/** One machine runs everything. */
const slackMs = 3_000

const stepName = (step: number) => `step-${String(step).padStart(8, '0')}`
const skippedIn = (events: readonly RunEvent[]) =>
  events
    .filter(event => event.event === 'checkpoint-skipped')
    .map(event => [path.basename(String(event['path'])), event['code']])

describe('a torn checkpoint', () => {
  it('is passed over by --resume, which says so and goes on from the one before, on any number of members', async () => {
    using folder = temporaryFolder('torn')
    const runDir = path.join(folder.path, 'first')
    const whole = await train(
      runDir,
      '--workers',
      '2',
      '--steps',
      String(steps),
      '--checkpoint-dir',
      path.join(folder.path, 'kept'),
    )
    expect(whole.at(-1)?.event).toBe('done')
    const kept = path.join(folder.path, 'kept', 'first')
    const names = fs
      .readdirSync(kept)
      .filter(name => name.startsWith('step-'))
      .sort()
    expect(names).toEqual([stepName(steps)])
    // What a writer leaves that was killed, and what a bad copy leaves.
    const copy = (step: number) => {
      const place = path.join(kept, stepName(step))
      fs.cpSync(path.join(kept, stepName(steps)), place, { recursive: true })
      return place
    }
    fs.rmSync(path.join(copy(steps + 1), 'manifest.json'))
    const model = path.join(copy(steps + 2), 'model.safetensors')
    fs.truncateSync(model, fs.statSync(model).size / 2)
    const moments = path.join(copy(steps + 3), 'optimizer.safetensors')
    const bytes = fs.readFileSync(moments)
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 4
    fs.writeFileSync(moments, bytes)
    fs.writeFileSync(path.join(kept, 'LATEST'), `${stepName(steps + 3)}\n`)

    const more = ['--resume', kept, '--steps', String(steps + 4)]
    const startMs = performance.now()
    const run = startSkein(argsFor(path.join(folder.path, 'alone'), '--workers', '1', ...more))
    await run.until(event => event.event === 'step', 'a step')
    expect(performance.now() - startMs).toBeLessThan(goneOnWithinMs + slackMs)
    expect((await run.ended).code).toBe(0)
    const alone = run.events
    expect(skippedIn(alone)).toEqual([
      [stepName(steps + 3), 'SKEIN_CHECKPOINT_CORRUPT'],
      [stepName(steps + 2), 'SKEIN_CHECKPOINT_CUT_SHORT'],
      [stepName(steps + 1), 'SKEIN_CHECKPOINT_NO_MANIFEST'],
    ])
    expect(stepsOf(alone).map(event => event.step)).toEqual([9, 10, 11, 12])
    // On four members: the state is replicated, so what is loaded is the same.
    const four = await train(path.join(folder.path, 'four'), '--workers', '4', ...more)
    const startOf = (events: readonly RunEvent[]) => events.find(event => event.event === 'start')?.['digest']
    const lastOf = (events: readonly RunEvent[]) => stepsOf(events).at(-1)?.digest
    expect([startOf(alone), startOf(four)]).toEqual([lastOf(whole), lastOf(whole)])
    expect(stepsOf(four).map(event => event.samples)).toEqual(stepsOf(alone).map(event => event.samples))
    const losses = (events: readonly RunEvent[]) => stepsOf(events).map(event => event.loss)
    // Float32 sums of another order: one part in 10^5 after four steps.
    for (const [i, loss] of losses(four).entries()) expect(loss).toBeCloseTo(losses(alone)[i] ?? Number.NaN, 4)
  })
})

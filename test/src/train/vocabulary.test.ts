import path from 'node:path'
import { type NamedTensor, openCheckpoint } from '@skein/checkpoint'
import { relativeL2, temporaryFolder } from '@skein/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runSkein, type StepEvent, stepsOf, tinyJob } from '../skein-process.ts'

const steps = 8
const half = steps / 2
const inTwo = ['--pp', '2', '--workers', '2']
const sharded = [...inTwo, '--vocabulary', 'sharded']

interface Trained {
  readonly steps: readonly StepEvent[]
  readonly heldOut: number
  readonly checkpoint: string
}

/** A vocabulary over all ranks against one on the first and the last, and against one process. */
describe('a vocabulary that is dealt out over the workers of a pipe', () => {
  const folder = temporaryFolder('vocabulary-')
  afterAll(() => folder[Symbol.dispose]())
  let numRuns = 0

  async function train(...flags: string[]): Promise<Trained> {
    const runDir = path.join(folder.path, `run${numRuns++}`)
    const events = await runSkein(['train', tinyJob, '--run-dir', runDir, '--json', ...flags])
    const heldOut = events.findLast(({ event }) => event === 'eval')?.['loss'] as number
    return { steps: stepsOf(events), heldOut, checkpoint: String(events.at(-1)?.['checkpoint']) }
  }

  let one: Trained
  let whole: Trained
  let cut: Trained
  beforeAll(async () => {
    const all = ['--steps', String(steps)]
    one = await train('--workers', '1', ...all)
    whole = await train(...inTwo, ...all)
    cut = await train(...sharded, ...all)
  })

  it('trains what the same pipe with a whole one trains, and one worker: every loss, and every tensor', async () => {
    for (const truth of [one, whole]) {
      expectSteps(cut, truth.steps)
      expect(Math.abs(cut.heldOut / truth.heldOut - 1)).toBeLessThan(1e-5)
      const expected = await tensorsOf(truth.checkpoint)
      const trained = await tensorsOf(cut.checkpoint)
      expect([...trained.keys()].sort()).toEqual([...expected.keys()].sort())
      // Both are float32 that was summed in another order; AdamW divides by what may be next to nothing.
      for (const [name, values] of trained)
        expect(relativeL2(values, expected.get(name) ?? values), name).toBeLessThan(1e-4)
    }
  })

  it('gives the same bits when the same run is made twice, also over two replicas', async () => {
    const again = await train(...sharded, '--steps', String(steps))
    expect(again.steps.map(({ digest }) => digest)).toEqual(cut.steps.map(({ digest }) => digest))
    const replicas = [
      '--pp',
      '2',
      '--workers',
      '4',
      '--vocabulary',
      'sharded',
      '--schedule',
      'zb-h1',
      '--steps',
      String(steps),
    ]
    const [first, second] = [await train(...replicas), await train(...replicas)]
    expect(second.steps.map(({ digest }) => digest)).toEqual(first.steps.map(({ digest }) => digest))
    expectSteps(first, one.steps)
  })

  it('goes on from what one worker has saved, and one worker, or three, from what it has', async () => {
    const to = ['--steps', String(steps)]
    const byOne = await train('--workers', '1', '--steps', String(half))
    const byCut = await train(...sharded, '--steps', String(half))
    const rest = one.steps.slice(half)
    // A cosine over fewer steps is another one: the truth is one worker that has gone on from the same.
    const truth = await train('--workers', '1', ...to, '--resume', byOne.checkpoint)
    expect(truth.steps.map(({ step }) => step)).toEqual(rest.map(({ step }) => step))
    expectSteps(await train(...sharded, ...to, '--resume', byOne.checkpoint), truth.steps)
    expectSteps(await train('--workers', '1', ...to, '--resume', byCut.checkpoint), truth.steps)
    const three = ['--pp', '3', '--workers', '3', '--vocabulary', 'sharded', '--schedule', 'zb-h1']
    expectSteps(await train(...three, ...to, '--resume', byCut.checkpoint), truth.steps)
  })

  it('makes a checkpoint from which text is made, scored and exported as from one that has every tensor whole', async () => {
    // Nothing is left to be trained: the same tensors, written by one worker.
    const asOne = await train('--workers', '1', '--steps', String(steps), '--resume', cut.checkpoint)
    expect(asOne.steps).toEqual([])
    const all = await Promise.all(
      [cut.checkpoint, asOne.checkpoint].map(async (checkpoint, i) => {
        const out = path.join(folder.path, `exported${i}`)
        await runSkein(['export', '--checkpoint', checkpoint, '--out', out, '--json'])
        const told = async (...args: string[]) => (await runSkein([...args, '--json']))[0]
        const generated = await told('generate', '--checkpoint', checkpoint, '--prompt', 'export ', '--tokens', '8')
        const [made, again] = [
          generated,
          await told('generate', '--checkpoint', out, '--prompt', 'export ', '--tokens', '8'),
        ]
        expect(made?.['tokens']).toHaveLength(8)
        expect(again?.['tokens']).toEqual(made?.['tokens'])
        const scored = await told('score', '--checkpoint', checkpoint, '--text', 'declare')
        expect(scored?.['logprobs']).toHaveLength('declare'.length - 1)
        return { tokens: made?.['tokens'], logprobs: scored?.['logprobs'] }
      }),
    )
    expect(all[0]).toEqual(all[1])
  })
})

function expectSteps(trained: Trained, truth: readonly StepEvent[]) {
  expect(trained.steps.map(({ step, samples }) => [step, samples])).toEqual(
    truth.map(({ step, samples }) => [step, samples]),
  )
  for (const [i, { step, loss, digest }] of trained.steps.entries()) {
    expect(Math.abs(loss / (truth[i]?.loss ?? Number.NaN) - 1), `step ${step}`).toBeLessThan(1e-5)
    expect(digest).toMatch(/^[0-9a-f]{16}$/)
  }
}

/** Parameters by name. */
async function tensorsOf(location: string): Promise<ReadonlyMap<string, Float32Array>> {
  await using checkpoint = await openCheckpoint(location)
  const parameters = (await checkpoint.readParameters()) as (NamedTensor & { readonly data: Float32Array })[]
  return new Map(parameters.map(({ name, data }) => [name, data]))
}

import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { openCheckpoint } from '@skein/checkpoint'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { runSkein, startSkein, stepsOf } from '../skein-process.ts'
import { constantRateJob } from './constant-rate-job.ts'

/** No step waits for a checkpoint that cannot be written: from one commit to the next it is a step's time, 10 ms; many times that on a busy machine. */
const usualGapMs = 500
/** What a machine adds to any one step that runs everything, other tests too. */
const slackMs = 3_000

/** Room for ten checkpoints of the job below (0.3 MB each): two runs keep three, and one is being written. */
const diskBytes = 3_000_000

/** A file system of its own, as small as that. */
function smallDisk(): ({ readonly path: string } & Disposable) | undefined {
  const folder = temporaryFolder('disk')
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${diskBytes}`, 'tmpfs', folder.path], { stdio: 'ignore' })
  } catch {
    folder[Symbol.dispose]()
    return undefined
  }
  return {
    path: folder.path,
    [Symbol.dispose]() {
      execFileSync('umount', ['-l', folder.path])
      folder[Symbol.dispose]()
    },
  }
}

/** Takes what is left of a disk. */
function fill(file: string): void {
  const block = Buffer.alloc(4096)
  const handle = fs.openSync(file, 'w')
  try {
    for (;;) fs.writeSync(handle, block)
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' })
  } finally {
    fs.closeSync(handle)
  }
}

const mayMount = (() => {
  using disk = smallDisk()
  return disk !== undefined
})()
if (!mayMount) process.stderr.write('\n!!!! NO RIGHT TO MOUNT HERE: the test of a full disk is skipped\n\n')

describe.skipIf(!mayMount)('a disk that runs full', () => {
  it('costs no step: the training goes on, an alarm is raised, older checkpoints stay, and the end says what is not saved', async () => {
    using disk = smallDisk()
    using folder = temporaryFolder('disk-full')
    if (disk === undefined) throw new Error('the small disk is gone')
    const job = constantRateJob(folder.path, { every: 4 })
    const train = (name: string, ...more: string[]) => {
      const place = ['--run-dir', path.join(folder.path, name), '--checkpoint-dir', disk.path]
      return ['train', job, '--workers', '2', ...place, '--json', ...more]
    }
    const run = startSkein(train('full', '--steps', '40'))
    await run.until(event => event.event === 'checkpoint', 'a checkpoint')
    const filler = path.join(disk.path, 'filler')
    fill(filler)
    const { code, stderr } = await run.ended
    expect(code, stderr).toBe(1)

    // Every step is made, by one generation: nobody was put out or held up.
    expect(stepsOf(run.events).map(event => event.step)).toEqual(Array.from({ length: 40 }, (_, i) => i + 1))
    expect(run.events.filter(event => event.event === 'generation')).toHaveLength(1)
    const alarms = run.events.filter(event => event.event === 'checkpoint-failed')
    expect(alarms.length).toBeGreaterThan(1)
    expect(alarms[0]).toMatchObject({ code: 'SKEIN_CHECKPOINT_WRITE', why: 'the disk is full' })
    // From the first whose checkpoint failed to the last: while it is tried, while its remains go, and with each one after it.
    const commitsMs = stepsOf(run.events)
      .filter(({ step }) => step >= Number(alarms[0]?.['step']))
      .map(({ elapsedMs }) => elapsedMs)
    const gapsMs = commitsMs.slice(1).map((ms, i) => ms - (commitsMs[i] ?? Number.NaN))
    expect(gapsMs.length).toBeGreaterThan(4)
    expect(gapsMs.toSorted((a, b) => a - b)[gapsMs.length >> 1]).toBeLessThan(usualGapMs)
    expect(Math.max(...gapsMs)).toBeLessThan(slackMs)
    const saved = run.events.findLast(event => event.event === 'checkpoint')
    const last = String(saved?.['path'])
    expect(alarms.at(-1)).toMatchObject({ step: 40, checkpoint: last })
    expect(run.events.at(-1)).toMatchObject({
      event: 'error',
      code: 'SKEIN_MEMBERSHIP_NOT_SAVED',
      steps: 40,
      checkpoint: last,
    })

    // On the disk: the checkpoints of before, whole, and nothing half.
    const kept = fs.readdirSync(path.dirname(last)).sort()
    const whole = run.events
      .filter(event => event.event === 'checkpoint')
      .map(event => path.basename(String(event['path'])))
    expect(kept).toEqual(['LATEST', ...whole.slice(-3).sort()])
    await using opened = await openCheckpoint(path.dirname(last))
    expect(opened.path).toBe(last)

    // With room again it goes on from there, and the steps come out the same.
    fs.rmSync(filler)
    const resumed = stepsOf(await runSkein(train('again', '--steps', '40', '--resume', last)))
    expect(resumed[0]?.step).toBe(Number(saved?.['step']) + 1)
    expect(resumed.at(-1)).toMatchObject({ step: 40, digest: stepsOf(run.events).at(-1)?.digest })
  })
})

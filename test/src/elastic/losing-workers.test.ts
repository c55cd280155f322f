import fs from 'node:fs'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { runSkein, type RunEvent, startSkein, stepsOf, tinyJob } from '../skein-process.ts'
import { isMember, isStep, startCluster, untilStep } from './start-cluster.ts'

/** On top of a bound of docs/fault-matrix.md: one machine runs all the processes. */
const slackMs = 3_000

/** Losses of an undisturbed run, by step. */
async function undisturbed(folder: string, steps: number): Promise<number[]> {
  const args = ['train', tinyJob, '--workers', '1', '--steps', String(steps), '--run-dir', `${folder}/whole`, '--json']
  return stepsOf(await runSkein(args)).map(step => step.loss)
}

/** Every step once, each sample once, and the loss of a run that nothing happened to. */
function expectWhole(events: readonly RunEvent[], losses: readonly number[]): void {
  const steps = stepsOf(events)
  expect(steps.map(step => step.step)).toEqual(losses.map((_, i) => i + 1))
  expect(steps.map(step => step.samples)).toEqual(losses.map((_, i) => [16 * i, 16 * (i + 1)]))
  // Float32 sums in another order.
  for (const [i, step] of steps.entries()) expect(Math.abs(step.loss - (losses[i] ?? Number.NaN))).toBeLessThan(1e-3)
}

const isLost = (workerId: string) => isMember(workerId, 'lost')
const isStepOf = (facts: Readonly<Record<string, number>>) => (event: RunEvent) =>
  isStep(event) && Object.entries(facts).every(([fact, number]) => event[fact] === number)

describe('a worker that dies', () => {
  it('costs the others the step under way and nothing else; skein train goes on with those that are left', async () => {
    using folder = temporaryFolder('death')
    const steps = 40
    const losses = await undisturbed(folder.path, steps)
    const args = [
      'train',
      tinyJob,
      '--workers',
      '4',
      '--steps',
      String(steps),
      '--run-dir',
      `${folder.path}/run`,
      '--json',
    ]
    const run = startSkein(args)
    await run.until(event => event.event === 'step' && event['step'] === 5, 'step 5')
    killWorker(folder.path, 'w2')
    const { code, stderr } = await run.ended
    expect(code, stderr).toBe(0)
    expect(run.events.filter(isLost('w2'))).toHaveLength(1)
    expect(run.events.filter(event => event.event === 'generation').map(event => event['generation'])).toEqual([1, 2])
    expectWhole(run.events, losses)
    expect(run.events.at(-1)).toMatchObject({ event: 'done', status: 'finished' })
  })

  it('ends the run with what happened when it was the last', async () => {
    using folder = temporaryFolder('death')
    const args = ['train', tinyJob, '--workers', '1', '--steps', '100000', '--run-dir', `${folder.path}/run`, '--json']
    const run = startSkein(args)
    await run.until(event => event.event === 'step' && event['step'] === 3, 'step 3')
    killWorker(folder.path, 'w0')
    expect((await run.ended).code).not.toBe(0)
    const error = run.events.findLast(event => event.event === 'error')
    expect(error).toMatchObject({ code: 'SKEIN_CLI_CHILD_EXITED' })
    expect(error?.['message']).toContain('w0')
    expect(error?.['todo']).toBeTruthy()
    expect(processesWith(folder.path)).toEqual([])
  })

  it('comes back under its name, gets the state from the others, and takes part again', async () => {
    using folder = temporaryFolder('death')
    await using cluster = await startCluster(folder.path, { workers: 2 })
    await untilStep(cluster, 3)
    const killedMs = performance.now()
    cluster.workers.get('w1')?.killNow()
    await cluster.until(isLost('w1'), 'loss')
    await cluster.until(isStepOf({ workers: 1 }), 'a step of those that are left')
    expect(performance.now() - killedMs).toBeLessThan(5_000 + slackMs)
    await cluster.startWorker('w1')
    expect(await cluster.until(isStepOf({ generation: 3 }), 'third generation')).toMatchObject({ workers: 2 })
    await cluster.stop()
    const done = await cluster.ended
    expect(stepsOf(cluster.events).map(step => step.step)).toEqual(
      Array.from({ length: Number(done['steps']) }, (_, i) => i + 1),
    )
    for (const { exited } of cluster.workers.values()) expect((await exited).code).toBe(0)
  })
})

describe('a worker that is stopped', () => {
  it('is named when nothing was heard of it for the time of the heartbeats, is fenced when it wakes, and comes back', async () => {
    using folder = temporaryFolder('stopped')
    await using cluster = await startCluster(folder.path, { workers: 4 })
    await untilStep(cluster, 3)
    const worker = cluster.workers.get('w1')
    const stoppedMs = performance.now()
    worker?.signal('SIGSTOP')
    const lost = await cluster.until(isLost('w1'), 'loss')
    // 5 s of silence, noticed within a heartbeat's interval of 1 s, on a busy machine.
    expect(performance.now() - stoppedMs).toBeLessThan(8_000)
    expect(String(lost['reason'])).toContain('nothing was heard')
    expect(await cluster.until(isStepOf({ generation: 2 }), 'second generation')).toMatchObject({ workers: 3 })
    expect(performance.now() - stoppedMs, 'training again').toBeLessThan(10_000 + slackMs)
    worker?.signal('SIGCONT')
    expect(await cluster.until(isStepOf({ generation: 3 }), 'third generation')).toMatchObject({ workers: 4 })
    await cluster.stop()
    await cluster.ended
    for (const { exited } of cluster.workers.values()) expect((await exited).code).toBe(0)
  })
})

/** Kills the worker of a `skein train` whose run is in this folder. */
function killWorker(folder: string, name: string): void {
  const found = processesWith(folder).find(({ args }) => args.includes('worker') && args.includes(name))
  if (found === undefined) throw new Error(`no process of ${name}`)
  process.kill(found.pid, 'SIGKILL')
}

/** Processes of this machine whose command line holds `text`: pid and arguments. */
function processesWith(text: string): { readonly pid: number; readonly args: readonly string[] }[] {
  return fs.readdirSync('/proc').flatMap(name => {
    if (!/^\d+$/.test(name)) return []
    try {
      const args = fs.readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0')
      return args.some(arg => arg.includes(text)) ? [{ pid: Number(name), args }] : []
    } catch {
      return [] // It has ended meanwhile.
    }
  })
}

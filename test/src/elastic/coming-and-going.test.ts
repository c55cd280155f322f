import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { Cluster } from 'skein/chaos'
import { describe, expect, it } from 'vitest'
import { type RunEvent, runSkein, stepsOf, tinyJob } from '../skein-process.ts'
import { constantRateJob, ElasticRun } from './elastic-run.ts'
import { expectWhole } from './run-records.ts'

/** One machine runs everything. */
const slackMs = 3_000
/** In which two that take turns under one name have become one: three replacements of the same, each after half a second at most. */
const oneGivesUpWithinMs = 10_000

describe('workers that come and go', () => {
  it('from 2 to 6 and down to 1 in one run: no step is made twice, and the loss is that of an undisturbed run', async () => {
    using folder = temporaryFolder('scale')
    const job = constantRateJob(folder.path)
    await using run = await ElasticRun.start(folder.path, { workers: 2, steps: 100_000, job })
    await run.step(3)
    for (let i = 2; i < 6; i++) run.startWorker(`w${i}`)
    await run.until(event => event.event === 'step' && event['workers'] === 6, 'six workers')
    for (const name of ['w0', 'w2', 'w3', 'w4', 'w5']) {
      run.worker(name).child.kill('SIGTERM')
      expect(await run.worker(name).ended, `${name} leaves well`).toMatchObject({ code: 0 })
    }
    const alone = await run.until(event => event.event === 'step' && event['workers'] === 1, 'one worker')
    await run.step(Number(alone['step']) + 5)
    await run.stop()
    const done = await run.until(event => event.event === 'done', 'end')
    expect(run.coordinator.events.filter(event => event['change'] === 'lost')).toEqual([])

    const steps = stepsOf(run.coordinator.events)
    expect(steps.map(step => step.step)).toEqual(Array.from({ length: Number(done['steps']) }, (_, i) => i + 1))
    expect(steps.map(step => step.samples)).toEqual(steps.map((_, i) => [16 * i, 16 * (i + 1)]))
    const args = ['train', job, '--workers', '1', '--steps', String(steps.length), '--run-dir', `${folder.path}/whole`]
    const whole = stepsOf(await runSkein([...args, '--json']))
    for (const [i, step] of steps.entries()) {
      // Float32 sums in another order.
      expect(Math.abs(step.loss - (whole[i]?.loss ?? Number.NaN)), `step ${step.step}`).toBeLessThan(1e-3)
    }
  })
})

describe('a second worker of the same name', () => {
  it('costs the others one step; the two take turns until one gives up, and the other trains on', async () => {
    using folder = temporaryFolder('duplicate')
    const runDir = path.join(folder.path, 'run')
    const atMs = new Map<RunEvent, number>()
    await using cluster = await Cluster.start({
      jobFile: tinyJob,
      workers: 2,
      steps: 100_000,
      runDir,
      token: 'a-token-of-the-tests',
      threads: 1,
      env: process.env,
      onEvent: event => atMs.set(event, performance.now()),
    })
    const timeOf = (event: RunEvent) => atMs.get(event) ?? Number.NaN
    await cluster.until(event => event.event === 'step' && event['step'] === 3, 'step 3')
    const first = cluster.workers.get('w1')
    const { length: from } = cluster.events
    const second = await cluster.startWorker('w1')
    const isOf = (change: string) => (event: RunEvent) => event['workerId'] === 'w1' && event['change'] === change
    const fenced = await cluster.until(isOf('fenced'), 'the first to be replaced', { from })
    const joined = await cluster.until(isOf('joined'), 'the second', { from })
    // One decision: between the two there is no moment in which both are members, or none.
    expect(cluster.events.indexOf(joined)).toBe(cluster.events.indexOf(fenced) + 1)
    const step = await cluster.until(event => event.event === 'step', 'a step of the others', {
      from: cluster.events.indexOf(fenced),
    })
    expect(timeOf(step) - timeOf(fenced)).toBeLessThan(5_000 + slackMs)

    const gone = await Promise.race([first, second].map(async child => ({ child, exit: await child?.exited })))
    expect(performance.now() - timeOf(fenced)).toBeLessThan(oneGivesUpWithinMs + slackMs)
    expect(gone.exit?.code).toBe(1)
    const { length: after } = cluster.events
    const again = await cluster.until(event => event.event === 'step' && event['workers'] === 2, 'a step of all', {
      from: after,
    })
    expect(again['workers']).toBe(2)
    const last = gone.child === first ? second : first
    expect(last?.running).toBe(true)
    expect(cluster.events.slice(after).filter(isOf('fenced'))).toEqual([])
    expectWhole(cluster, runDir, 16)
  })
})

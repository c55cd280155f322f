import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { type RunEvent, runSkein, stepsOf } from '../skein-process.ts'
import { constantRateJob } from './constant-rate-job.ts'
import { expectWhole } from './run-records.ts'
import { isMember, isStep, startCluster, untilStep } from './start-cluster.ts'

/** One machine runs everything. */
const slackMs = 3_000
/** In which two that take turns under one name have become one: three replacements of the same, each after half a second at most. */
const oneGivesUpWithinMs = 10_000

describe('workers that come and go', () => {
  it('from 2 to 6 and down to 1 in one run: no step is made twice, and the loss is that of an undisturbed run', async () => {
    using folder = temporaryFolder('scale')
    const job = constantRateJob(folder.path)
    await using cluster = await startCluster(folder.path, { workers: 2, jobFile: job })
    await untilStep(cluster, 3)
    for (let i = 2; i < 6; i++) await cluster.startWorker(`w${i}`)
    await cluster.until(event => isStep(event) && event['workers'] === 6, 'six workers')
    for (const name of ['w0', 'w2', 'w3', 'w4', 'w5']) {
      const worker = cluster.workers.get(name)
      worker?.signal('SIGTERM')
      expect(await worker?.exited, `${name} leaves well`).toMatchObject({ code: 0 })
    }
    const alone = await cluster.until(event => isStep(event) && event['workers'] === 1, 'one worker')
    await untilStep(cluster, Number(alone['step']) + 5)
    await cluster.stop()
    const done = await cluster.ended
    expect(cluster.events.filter(event => event['change'] === 'lost')).toEqual([])

    const steps = stepsOf(cluster.events)
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
    await using cluster = await startCluster(folder.path, {
      workers: 2,
      onEvent: event => atMs.set(event, performance.now()),
    })
    const timeOf = (event: RunEvent) => atMs.get(event) ?? Number.NaN
    await untilStep(cluster, 3)
    const first = cluster.workers.get('w1')
    const { length: from } = cluster.events
    const second = await cluster.startWorker('w1')
    const fenced = await cluster.until(isMember('w1', 'fenced'), 'the first to be replaced', { from })
    const joined = await cluster.until(isMember('w1', 'joined'), 'the second', { from })
    // One decision: between the two there is no moment in which both are members, or none.
    expect(cluster.events.indexOf(joined)).toBe(cluster.events.indexOf(fenced) + 1)
    const step = await cluster.until(isStep, 'a step of the others', {
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
    expect(cluster.events.slice(after).filter(isMember('w1', 'fenced'))).toEqual([])
    expectWhole(cluster, runDir, 16)
  })
})

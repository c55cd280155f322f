import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { runSkein, stepsOf } from '../skein-process.ts'
import { constantRateJob, ElasticRun } from './elastic-run.ts'

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

import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { runSkein, stepsOf, tinyJob } from '../skein-process.ts'

describe('memory', () => {
  it('is flat over 1,000 steps: resident set and live tensors of the largest worker', {
    timeout: 400_000,
  }, async () => {
    using folder = temporaryFolder('memory')
    const steps = 1000
    const args = ['train', tinyJob, '--workers', '2', '--steps', String(steps), '--run-dir', folder.path, '--json']
    const events = await runSkein(args, 390_000)
    const memory = stepsOf(events).map(step => step as unknown as { rssBytes: number; liveTensors: number })
    const largest = (from: number, to: number) => Math.max(...memory.slice(from, to).map(m => m.rssBytes))
    const early = largest(100, 200)
    const late = largest(900, 1000)
    console.info(
      `resident set: ${(early / 2 ** 20).toFixed(0)} MiB at step 200, ${(late / 2 ** 20).toFixed(0)} MiB at step 1,000`,
    )
    // A leak of one microbatch's activations a step would be hundreds of MiB; the allocator's own movements are a few.
    expect(late).toBeLessThan(early * 1.08)
    expect(new Set(memory.map(m => m.liveTensors)).size).toBe(1)
    const done = events.find(event => event.event === 'done')
    expect(done?.['peakRssBytes']).toBeGreaterThanOrEqual(late)
  })
})

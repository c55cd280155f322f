import { fileURLToPath } from 'node:url'
import { temporaryFolder } from '@skein/testkit'
import { expect, it } from 'vitest'
import { runSkein, stepsOf } from '../skein-process.ts'

// Beyond the 5 s after which a silent worker counts as dead. SKEIN_LONG=1 waits the half minute.
const blockMs = process.env['SKEIN_LONG'] === '1' ? 30_000 : 8_000
const job = fileURLToPath(new URL('blocked.job.js', import.meta.url))

it(`a worker whose device thread stands in one kernel for ${blockMs / 1000} s is not put out`, async () => {
  using folder = temporaryFolder('blocked')
  const started = performance.now()
  const args = ['train', job, '--workers', '2', '--run-dir', `${folder.path}/run`, '--json']
  const events = await runSkein(args, 120_000, { SKEIN_TEST_BLOCK_MS: String(blockMs) })
  expect(performance.now() - started).toBeGreaterThan(blockMs)
  expect(events.filter(event => event.event === 'generation')).toHaveLength(1)
  expect(events.filter(event => ['lost', 'evicted', 'failed'].includes(String(event['change'])))).toEqual([])
  const steps = stepsOf(events)
  expect(steps).toHaveLength(30)
  expect(Math.max(...steps.map(step => step.stepMs))).toBeGreaterThan(blockMs)
})

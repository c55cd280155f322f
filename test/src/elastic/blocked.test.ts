import { fileURLToPath } from 'node:url'
import { temporaryFolder } from '@skein/testkit'
import { expect, it } from 'vitest'
import { type RunEvent, runSkein, stepsOf } from '../skein-process.ts'
import { isStep, startCluster, token } from './start-cluster.ts'

// Beyond the 5 s after which a silent worker counts as dead. SKEIN_LONG=1 waits the half minute.
const blockMs = process.env['SKEIN_LONG'] === '1' ? 30_000 : 8_000
const jobFile = fileURLToPath(new URL('blocked.job.js', import.meta.url))
/** From the last commit, where a step usually takes less than a third of a second. */
const namedWithinMs = 3_000
/** One machine runs everything. */
const slackMs = 1_000

it(`a worker whose device thread stands in one kernel for ${blockMs / 1000} s is named within 3 s, and not put out`, async () => {
  using folder = temporaryFolder('blocked')
  const atMs = new Map<RunEvent, number>()
  await using cluster = await startCluster(folder.path, {
    jobFile,
    workers: 2,
    steps: 30,
    env: { ...process.env, SKEIN_TEST_BLOCK_MS: String(blockMs) },
    onEvent: event => atMs.set(event, performance.now()),
  })
  // Not the first steps: on a busy machine those may be worth telling of, too.
  const isNamed = (event: RunEvent) => event.event === 'held-up' && Number(event['step']) > 10
  const heldUp = await cluster.until(isNamed, 'the kernel to be named')
  expect(heldUp).toMatchObject({ cause: 'missing-rank', workerId: 'w1' })
  expect(heldUp['reason']).toMatch(/w1.*it computes since .*; its link lives/)
  const before = cluster.events.findLast(isStep) as RunEvent
  expect((atMs.get(heldUp) ?? Number.NaN) - (atMs.get(before) ?? Number.NaN)).toBeLessThan(namedWithinMs + slackMs)
  expect(heldUp['step']).toBe(Number(before['step']) + 1)
  // Whoever asks is told the same, while it lasts.
  const [why] = await runSkein(['why', cluster.url, '--json'], 20_000, { SKEIN_TOKEN: token })
  const causes = why?.['causes'] as readonly unknown[] | undefined
  expect(causes?.[0]).toMatchObject({ cause: 'missing-rank', workerId: 'w1' })
  expect(Number(why?.['waitedMs'])).toBeLessThan(blockMs)

  expect(await cluster.ended).toMatchObject({ event: 'done', steps: 30 })
  expect(cluster.events.filter(event => event.event === 'generation')).toHaveLength(1)
  const changes = cluster.events.map(event => String(event['change']))
  expect(changes.filter(change => ['lost', 'evicted', 'failed'].includes(change))).toEqual([])
  const steps = stepsOf(cluster.events)
  expect(steps).toHaveLength(30)
  expect(Math.max(...steps.map(step => step.stepMs))).toBeGreaterThan(blockMs)
})

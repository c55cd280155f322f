import { PassThrough } from 'node:stream'
import { createLogger } from '@skein/telemetry'
import { expect, test } from 'vitest'
import { Refusals } from './refusals.ts'

test('all are counted by reason; the log has the first of each at once, then one line in ten seconds with how many came', () => {
  let nowMs = 0
  const stream = new PassThrough()
  const refusals = new Refusals(createLogger({ stream }), { now: () => nowMs })
  for (let i = 0; i < 10_000; i++) {
    nowMs = i
    refusals.note('halfOpen', { remote: '127.0.0.1' })
    if (i % 5_000 === 0) refusals.note('badToken')
  }
  nowMs = 12_000
  refusals.note('halfOpen', { remote: '127.0.0.2' })
  expect(refusals.counts()).toEqual({ halfOpen: 10_001, badToken: 2 })
  const lines = String(stream.read())
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as Record<string, unknown>)
  expect(lines.map(({ reason, since, total, event }) => ({ reason, since, total, event }))).toEqual([
    { reason: 'halfOpen', since: 1, total: 1, event: 'peer.refused' },
    { reason: 'badToken', since: 1, total: 1, event: 'peer.refused' },
    { reason: 'halfOpen', since: 10_000, total: 10_001, event: 'peer.refused' },
  ])
})

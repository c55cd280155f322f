import { expect, test } from 'vitest'
import type { FlightRecord, PeerTraffic } from './flight-record.ts'
import { deadLinkMs, noLinks, observeLinks } from './link-watch.ts'

const traffic = (peer: number, more: Partial<PeerTraffic> = {}): PeerTraffic => {
  const frames = { framesSent: 2, framesToSend: 2, framesReceived: 0, framesToReceive: 2 }
  return { peer, ...frames, bytesReceived: 0, receivingMs: 0, ...more }
}

/** Two ranks in one op; `more` is what rank 1 knows of rank 0. */
const records = (waitedMs: number, more: Partial<PeerTraffic> = {}): FlightRecord[] => {
  const op = { opSeq: 7, channel: 0, name: 'ring all-reduce', elems: 10, enteredAgoMs: waitedMs }
  return [
    { rank: 0, ageMs: 0, ops: [{ ...op, peers: [traffic(1, { framesReceived: 2 })] }] },
    { rank: 1, ageMs: 0, ops: [{ ...op, peers: [traffic(0, more)] }] },
  ]
}

/** Looks every two seconds from `fromMs` to `toMs` after the op was entered; the links found dead, by when. */
function watch(toMs: number, moreAt: (ms: number) => Partial<PeerTraffic>) {
  let state = noLinks
  const found: (readonly [number, number, number])[] = []
  for (let ms = 1_000; ms <= toMs; ms += 2_000) {
    const seen = observeLinks(state, { generation: 1, records: records(ms, moreAt(ms)), nowMs: 50_000 + ms })
    state = seen.state
    found.push(...seen.dead.map(({ src, dst }) => [ms, src, dst] as const))
  }
  return found
}

test('a link over which nothing comes of what was sent is dead after ten seconds', () => {
  const [first] = watch(20_000, () => ({}))
  expect(first).toEqual([deadLinkMs + 1_000, 0, 1])
})

test.each([
  ['completes a frame now and then', (ms: number) => ({ framesReceived: Math.floor(ms / 4_000), framesToReceive: 99 })],
  ['is in the middle of a frame', (ms: number) => ({ inFrameMs: Math.min(ms, 40_000) })],
  ['has delivered what its receiver does not take yet', () => ({ isParked: true as const })],
])('a slow link that %s is never dead', (_, moreAt) => {
  const slow = (ms: number) => ({ framesSent: 99, ...moreAt(ms) })
  let state = noLinks
  for (let ms = 1_000; ms < 90_000; ms += 2_000) {
    const [one, two] = records(ms, slow(ms)) as [FlightRecord, FlightRecord]
    const sent = {
      ...one,
      ops: one.ops.map(op => ({ ...op, peers: [traffic(1, { framesSent: 99, framesReceived: 2 })] })),
    }
    const seen = observeLinks(state, { generation: 1, records: [sent, two], nowMs: ms })
    state = seen.state
    expect(seen.dead, `after ${ms} ms`).toEqual([])
  }
})

test('a frame that stands still in its middle is given a minute', () => {
  const [first] = watch(90_000, ms => ({ inFrameMs: ms }))
  expect(first?.[0]).toBeGreaterThanOrEqual(60_000)
})

test('what was not sent is nobody’s link’s fault', () => {
  const waiting = records(60_000).map(({ ops, ...record }) => ({
    ...record,
    ops: ops.map(op => ({ ...op, peers: op.peers.map(peer => ({ ...peer, framesSent: 0 })) })),
  }))
  const first = observeLinks(noLinks, { generation: 1, records: waiting, nowMs: 1 })
  expect(observeLinks(first.state, { generation: 1, records: waiting, nowMs: 99_999 }).dead).toEqual([])
})

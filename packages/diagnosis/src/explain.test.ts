import { expect, test } from 'vitest'
import { explain, type MemberFacts, type Situation } from './explain.ts'
import type { FlightOp, FlightRecord, PeerTraffic } from './flight-record.ts'

const traffic = (peer: number, facts: Partial<PeerTraffic> = {}): PeerTraffic => ({
  peer,
  framesSent: 4,
  framesToSend: 4,
  framesReceived: 4,
  framesToReceive: 4,
  bytesReceived: 1_000_000,
  receivingMs: 10,
  ...facts,
})

const op = (opSeq: number, enteredAgoMs: number, facts: Partial<FlightOp> = {}): FlightOp => ({
  opSeq,
  channel: 0,
  name: 'ring all-reduce',
  elems: 1000,
  enteredAgoMs,
  leftAgoMs: enteredAgoMs - 1,
  peers: [],
  ...facts,
})

/** An op that is under way. */
function openOp(opSeq: number, enteredAgoMs: number, peers: readonly PeerTraffic[] = []): FlightOp {
  const { leftAgoMs: _, ...rest } = op(opSeq, enteredAgoMs, { peers })
  return rest
}

const member = (rank: number, facts: Partial<MemberFacts> = {}): MemberFacts => ({
  workerId: `w${rank}`,
  rank,
  lastSeenMs: 400,
  hasVoted: false,
  computingMs: 3200,
  usualComputeMs: 500,
  ...facts,
})

const record = (rank: number, ops: readonly FlightOp[]): FlightRecord => ({ rank, ageMs: 0, ops })

const situation = (facts: Partial<Situation>): Situation => ({
  step: 41,
  waitedMs: 3200,
  usualStepMs: 600,
  members: [member(0), member(1), member(2)],
  records: [],
  ...facts,
})

test('the rank that has not entered is named with what it does and that its link lives', () => {
  const records = [record(0, [openOp(7, 2700)]), record(1, [openOp(7, 2650)]), record(2, [op(6, 3600)])]
  const { summary, causes } = explain(
    situation({ records, members: [member(0), member(1), member(2, { computingMs: 3400 })] }),
  )
  expect(summary).toBe(
    'step 41 waits 3.2 s, usually 600 ms: rank 2 (w2) has not entered ring all-reduce #7, the others wait in it for 2.7 s; ' +
      'it computes since 3.4 s, usually 500 ms; its link lives (400 ms ago)',
  )
  expect(causes.map(({ cause, workerId }) => [cause, workerId])).toEqual([['missing-rank', 'w2']])
})

test('a rank that gives no answer is named before one that has not entered', () => {
  const records = [record(0, [openOp(7, 2700)]), record(1, [op(6, 3600)])]
  const { causes } = explain(situation({ records, members: [member(0), member(1), member(2, { lastSeenMs: 3100 })] }))
  expect(causes.map(({ cause, workerId }) => [cause, workerId])).toEqual([
    ['silent-rank', 'w2'],
    ['missing-rank', 'w1'],
  ])
  expect(causes[0]?.reason).toBe('rank 2 (w2) gives no answer; its last sign of life was 3.1 s ago')
})

test('a frame that is under way names its link when all ranks are in the op', () => {
  const records = [
    record(0, [openOp(7, 2700, [traffic(1)])]),
    record(1, [openOp(7, 2650, [traffic(0, { framesReceived: 1, inFrameMs: 2500 })])]),
    record(2, [openOp(7, 2640)]),
  ]
  expect(explain(situation({ records })).summary).toBe(
    'step 41 waits 3.2 s, usually 600 ms: link w0 → w1: a frame has been coming in for 2.5 s; all ranks are in ring all-reduce #7 for up to 2.7 s',
  )
})

test('a slow link and a straggler are named also while steps go on', () => {
  const into = (src: number, ms: number) =>
    [4, 5, 6].map(opSeq => op(opSeq, 100, { peers: [traffic(src, { receivingMs: ms })] }))
  const records = [record(0, into(2, 9)), record(1, into(0, 83)), record(2, into(1, 9))]
  const members = [member(0), member(1), member(2, { straggler: 'its time for a sample is 1.30 times …' })]
  const { summary, causes } = explain(situation({ waitedMs: 300, records, members }))
  expect(summary).toBe(
    'step 41 is under way for 300 ms, usually 600 ms: link w0 → w1: 12 MB/s in the last 3 ops, others 111 MB/s',
  )
  expect(causes.map(({ cause }) => cause)).toEqual(['slow-link', 'straggler'])
})

test('when nobody waits in a collective, those without a vote are named', () => {
  const idle = [op(8, 3000)]
  const records = [record(0, idle), record(1, idle), record(2, idle)]
  const members = [member(0, { hasVoted: true }), member(1), member(2, { hasVoted: true })]
  const { causes } = explain(situation({ records, members }))
  expect(causes.map(({ cause, workerId }) => [cause, workerId])).toEqual([['missing-rank', 'w1']])
  expect(causes[0]?.reason).toMatch(/^rank 1 \(w1\) has not voted; it computes since 3\.2 s, usually 500 ms/)
})

test('where the records show nothing that is said, and nobody is named', () => {
  const records = [record(0, [op(8, 200)]), record(1, [op(8, 200)]), record(2, [op(8, 200)])]
  expect(explain(situation({ records })).summary).toBe(
    'step 41 waits 3.2 s, usually 600 ms: all ranks compute, and none has entered a collective',
  )
  expect(explain(situation({ records, waitedMs: 250, usualStepMs: undefined }))).toEqual({
    summary: 'step 41 is under way for 250 ms: nothing holds it up',
    causes: [],
  })
})

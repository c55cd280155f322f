import { expect, test } from 'vitest'
import { ringAllReduce } from './ring.ts'
import { simulatePlan } from './simulate.ts'

const costs = { latencyMs: 1, msPerByte: 0.01 }
const plan = ringAllReduce({ ranks: 3, elems: 300 })
const together = simulatePlan(plan, costs)

test('when all ranks begin later by as much, so does every op', () => {
  const later = simulatePlan(plan, costs, { enteredMs: [50, 50, 50] })
  expect(later.totalMs).toBeCloseTo(together.totalMs + 50)
  expect(later.ops.map(({ startMs }) => startMs)).toEqual(
    together.ops.map(({ startMs }) => expect.closeTo(startMs + 50) as number),
  )
})

test('what is sent to a rank before it begins arrives when it has begun, and the others wait for it', () => {
  const { ops, totalMs } = simulatePlan(plan, costs, { enteredMs: [0, 100, 0] })
  const first = (rank: number, kind: string) => ops.find(one => one.rank === rank && one.op.op === kind)
  expect(first(0, 'send')?.startMs).toBe(0)
  expect(first(1, 'recvReduce')?.startMs).toBe(100)
  expect(first(1, 'send')?.startMs).toBe(100)
  expect(totalMs).toBeGreaterThan(100 + together.totalMs / 2)
})

test('a rank that never begins stops what waits for it, and nothing else', () => {
  const { ops } = simulatePlan(plan, costs, { enteredMs: [0, Infinity, 0] })
  expect(ops.some(({ rank }) => rank === 1)).toBe(false)
  // Rank 0 sends its first block to rank 1 and gets one from rank 2, which gets nothing.
  expect(ops.filter(({ op }) => op.op === 'recvReduce').map(({ rank }) => rank)).toEqual([0])
  expect(ops.every(({ endMs }) => Number.isFinite(endMs))).toBe(true)
})

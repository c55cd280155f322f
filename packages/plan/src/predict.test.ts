import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { allReduceAlgorithms } from './algorithms.ts'
import { bruckAllToAll, pairwiseAllToAll } from './all-to-all.ts'
import { predictMs, rankAlgorithms } from './predict.ts'
import { ringCost, ringOrder } from './ring-order.ts'
import { simulatePlan } from './simulate.ts'

useTestSeed()

const links = { latencyMs: 0.1, msPerByte: 1e-6 }
const exact = ['ring', 'direct', 'tree', 'star', 'recursive-doubling', 'halving-doubling'] as const

describe('the closed form is the simulated time', () => {
  test.each([2, 4, 8, 16])('of all-reduce among %i ranks', ranks => {
    for (const elems of [ranks * 16, ranks * 65_536]) {
      for (const algorithm of exact) {
        const { totalMs } = simulatePlan(allReduceAlgorithms[algorithm]({ ranks, elems }), links)
        const predicted = predictMs('all-reduce', algorithm, { ranks, bytes: elems * 4 }, links) as number
        expect({ algorithm, ratio: totalMs / predicted }).toEqual({ algorithm, ratio: expect.closeTo(1, 6) })
      }
    }
  })

  test.each([2, 3, 4, 7, 16])('of all-to-all among %i ranks', ranks => {
    const size = 1024
    const counts = Array.from({ length: ranks }, () => Array<number>(ranks).fill(size))
    const sizes = { ranks, bytes: ranks * size * 4 }
    const pairwise = simulatePlan(pairwiseAllToAll({ counts }), links).totalMs
    const bruck = simulatePlan(bruckAllToAll({ ranks, blockElems: size }), links).totalMs
    expect(bruck).toBeCloseTo(predictMs('all-to-all', 'bruck', sizes, links) as number, 9)
    // Rounds of pairwise follow without a wait for the former one's arrival: the latency of all but one is hidden.
    expect(pairwise).toBeLessThanOrEqual((predictMs('all-to-all', 'pairwise', sizes, links) as number) + 1e-9)
  })

  test('of the double tree is within its pipelined form', () => {
    for (const ranks of [2, 3, 4, 5, 8, 16]) {
      const elems = 1 << 20
      const plan = allReduceAlgorithms['double-tree']({ ranks, elems, segmentElems: 1 << 14 })
      const predicted = predictMs(
        'all-reduce',
        'double-tree',
        { ranks, bytes: elems * 4, segmentBytes: 1 << 16 },
        links,
      )
      const ratio = simulatePlan(plan, links).totalMs / (predicted as number)
      // Turns of the two trees on one port are not perfect, and a leaf's way up hides behind others' way down.
      expect(ratio).toBeGreaterThan(0.4)
      expect(ratio).toBeLessThan(1.3)
    }
  })
})

test('crossovers are where the closed forms cross: α = 100 µs, 1 GB/s', () => {
  const among = (ranks: number, kind: 'all-reduce' | 'all-to-all', a: string, b: string) => (bytes: number) =>
    (predictMs(kind, a, { ranks, bytes }, links) as number) < (predictMs(kind, b, { ranks, bytes }, links) as number)
  // Recursive doubling to halving-doubling at α lg N / (β(lg N - 2(N-1)/N)).
  for (const [ranks, at] of [
    [4, 400_000],
    [8, 240_000],
    [16, 188_235],
  ] as const) {
    const isDoubling = among(ranks, 'all-reduce', 'recursive-doubling', 'halving-doubling')
    expect([isDoubling(at * 0.99), isDoubling(at * 1.01)]).toEqual([true, false])
  }
  // Bruck to pairwise at (N-1-lg N) α / (β(lg N / 2 - (N-1)/N)).
  for (const [ranks, at] of [
    [4, 400_000],
    [8, 640_000],
    [16, 1_035_294],
  ] as const) {
    const isBruck = among(ranks, 'all-to-all', 'bruck', 'pairwise')
    expect([isBruck(at * 0.99), isBruck(at * 1.01)]).toEqual([true, false])
  }
})

test('the choice: few rounds for small buffers and long ways, few bytes for large ones', () => {
  const best = (bytes: number, latencyMs: number) =>
    rankAlgorithms('all-reduce', { ranks: 8, bytes }, { latencyMs, msPerByte: 1e-5, msPerMessage: 0.005 })[0]?.algorithm
  expect(best(64, 20)).toBe('star')
  expect(best(64 << 20, 0.05)).toBe('direct')
  for (const prediction of rankAlgorithms('all-reduce', { ranks: 1, bytes: 100 }, links)) {
    expect(prediction.predictedMs).toBeGreaterThanOrEqual(0)
  }
})

describe('ring order', () => {
  const matrices = (n: number) =>
    fc.array(fc.array(fc.integer({ min: 1, max: 50 }), { minLength: n, maxLength: n }), { minLength: n, maxLength: n })

  test('is the best of all orders: worst edge first, then the sum', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }).chain(matrices), cost => {
        const order = ringOrder(cost)
        expect([...order].sort((a, b) => a - b)).toEqual([...cost.keys()])
        const is = ringCost(order, cost)
        const walk = (path: number[]): void => {
          if (path.length === cost.length) {
            const other = ringCost(path, cost)
            expect(other.worst > is.worst || (other.worst === is.worst && other.sum >= is.sum)).toBe(true)
            return
          }
          for (const next of cost.keys()) if (!path.includes(next)) walk([...path, next])
        }
        walk([0])
      }),
      { numRuns: 40 },
    )
  })

  test('of many ranks avoids a slow link that can be avoided, and is the same every time', () => {
    const ranks = 24
    // Two sites of twelve, mixed; the way between them is slow, and one pair of ranks has a bad link.
    const cost = Array.from({ length: ranks }, (_, i) =>
      Array.from({ length: ranks }, (__, j) => (i + j === 7 && i * j === 12 ? 1000 : i % 2 === j % 2 ? 1 : 10)),
    )
    const order = ringOrder(cost)
    expect(ringCost(order, cost)).toEqual({ worst: 10, sum: 2 * 10 + (ranks - 2) })
    expect(ringOrder(cost)).toEqual(order)
  })
})

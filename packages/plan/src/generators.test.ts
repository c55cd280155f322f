import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { disseminationBarrier } from './barrier.ts'
import { blockRange, type CollectivePlan, type PlanOptions, sentElems } from './plan.ts'
import { ringAllGather, ringAllReduce, ringReduceScatter } from './ring.ts'
import { countRounds, simulatePlan } from './simulate.ts'
import { starAllReduce } from './star.ts'
import { binomialBroadcast, treeAllReduce } from './tree.ts'
import { checkPlan } from './validate.ts'

useTestSeed()

const generators: Readonly<Record<string, (options: PlanOptions) => CollectivePlan>> = {
  ringAllReduce,
  ringReduceScatter,
  ringAllGather,
  treeAllReduce,
  starAllReduce,
  binomialBroadcast: options => binomialBroadcast({ ...options, root: options.ranks - 1 }),
}
const rankCounts = Array.from({ length: 16 }, (_, i) => i + 1)
const countsFor = (ranks: number) => [...new Set([0, 1, ranks - 1, ranks, 997, 1_000_000])]
const lg = (n: number) => Math.ceil(Math.log2(n))
const blockSize = (elems: number, ranks: number, index: number) => {
  const [from, to] = blockRange(elems, ranks, index % ranks)
  return to - from
}
const totalSent = (plan: CollectivePlan) => plan.ops.reduce((sum, _, rank) => sum + sentElems(plan, rank), 0)

describe.each(Object.entries(generators))('%s', (_, generate) => {
  test('is valid for 1 to 16 ranks and awkward counts', () => {
    for (const ranks of rankCounts) {
      for (const elems of countsFor(ranks)) {
        expect({ ranks, elems, problem: checkPlan(generate({ ranks, elems })) }).toEqual({
          ranks,
          elems,
          problem: undefined,
        })
      }
    }
  })

  test('cut in segments it is valid, sends as much, and no message is longer', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 16 }),
        fc.nat(300),
        fc.integer({ min: 1, max: 100 }),
        (ranks, elems, segmentElems) => {
          const plan = generate({ ranks, elems, segmentElems })
          expect(checkPlan(plan)).toBeUndefined()
          expect(plan.ops.flat().every(op => op.to - op.from <= segmentElems && op.to > op.from)).toBe(true)
          const whole = generate({ ranks, elems })
          for (let rank = 0; rank < ranks; rank++) expect(sentElems(plan, rank)).toBe(sentElems(whole, rank))
        },
      ),
      { numRuns: 60 },
    )
  })

  test('one rank does nothing', () => {
    expect(generate({ ranks: 1, elems: 10 }).ops).toEqual([[]])
  })

  test.each([
    { ranks: 0, elems: 1 },
    { ranks: 1.5, elems: 1 },
    { ranks: 2, elems: -1 },
    { ranks: 2, elems: 1, segmentElems: 0 },
    { ranks: 2, elems: 1, segmentElems: 1.5 },
  ])('refuses %o', options => {
    expect(() => generate(options)).toThrow(expect.objectContaining({ code: 'SKEIN_PLAN_OPTIONS' }))
  })
})

describe('elements sent equal the closed forms', () => {
  test.each(rankCounts.slice(1))('with %i ranks', ranks => {
    for (const elems of countsFor(ranks)) {
      const o = { ranks, elems }
      for (let r = 0; r < ranks; r++) {
        // A ring passes on every block but one: (N-1)/N of the buffer when N divides it.
        expect(sentElems(ringReduceScatter(o), r)).toBe(elems - blockSize(elems, ranks, r))
        expect(sentElems(ringAllGather(o), r)).toBe(elems - blockSize(elems, ranks, r + 1))
        expect(sentElems(ringAllReduce(o), r)).toBe(
          2 * elems - blockSize(elems, ranks, r) - blockSize(elems, ranks, r + 1),
        )
      }
      expect(sentElems(ringAllReduce({ ranks, elems: elems * ranks }), 0)).toBe(2 * (ranks - 1) * elems)
      expect(totalSent(treeAllReduce(o))).toBe(2 * (ranks - 1) * elems)
      expect(sentElems(treeAllReduce(o), 0)).toBe(lg(ranks) * elems)
      expect(totalSent(starAllReduce(o))).toBe(2 * (ranks - 1) * elems)
      expect(totalSent(binomialBroadcast({ ...o, root: 0 }))).toBe((ranks - 1) * elems)
    }
  })
})

describe('rounds and time equal the closed forms', () => {
  test.each(Array.from({ length: 19 }, (_, i) => i + 1))('with %i ranks', ranks => {
    const o = { ranks, elems: ranks * 100 }
    const bytes = o.elems * 4
    const [alpha, beta] = [0.1, 1e-3]
    expect(countRounds(ringAllReduce(o))).toBe(2 * (ranks - 1))
    expect(countRounds(ringReduceScatter(o))).toBe(ranks - 1)
    expect(countRounds(ringAllGather(o))).toBe(ranks - 1)
    expect(countRounds(treeAllReduce(o))).toBe(2 * lg(ranks))
    expect(countRounds(binomialBroadcast({ ...o, root: ranks >> 1 }))).toBe(lg(ranks))
    expect(countRounds(disseminationBarrier({ ranks }))).toBe(lg(ranks))
    const costs = { latencyMs: alpha, msPerByte: beta }
    const ring = simulatePlan(ringAllReduce(o), costs)
    expect(ring.totalMs).toBeCloseTo(2 * (ranks - 1) * (alpha + (bytes / ranks) * beta), 9)
    const tree = simulatePlan(treeAllReduce(o), costs)
    const bound = 2 * lg(ranks) * (alpha + bytes * beta)
    if (Number.isInteger(Math.log2(ranks))) expect(tree.totalMs).toBeCloseTo(bound, 9)
    else expect(tree.totalMs).toBeLessThanOrEqual(bound + 1e-9)
    expect(ring.bytesSent[0]).toBe(((2 * (ranks - 1)) / ranks) * bytes)
  })

  test('cutting a ring in segments never slows it when messages are free, and hides most of the latency', () => {
    const costs = { latencyMs: 1, msPerByte: 1e-3 }
    const whole = simulatePlan(ringAllReduce({ ranks: 4, elems: 4000 }), costs).totalMs
    const cut = simulatePlan(ringAllReduce({ ranks: 4, elems: 4000, segmentElems: 100 }), costs).totalMs
    expect(cut).toBeLessThan(whole)
    expect(cut).toBeGreaterThan(6 * 4000 * 1e-3)
  })
})

test('the barrier is valid for 1 to 33 ranks', () => {
  for (let ranks = 1; ranks <= 33; ranks++) expect(checkPlan(disseminationBarrier({ ranks }))).toBeUndefined()
})

test('a broadcast is valid from every root, and refuses one that is not there', () => {
  for (let root = 0; root < 7; root++)
    expect(checkPlan(binomialBroadcast({ ranks: 7, elems: 10, root }))).toBeUndefined()
  expect(() => binomialBroadcast({ ranks: 3, elems: 1, root: 3 })).toThrow(
    expect.objectContaining({ code: 'SKEIN_PLAN_OPTIONS' }),
  )
})

test('blocks of a buffer touch, in order, and differ by one element at most', () => {
  fc.assert(
    fc.property(fc.nat(1_000_000), fc.integer({ min: 1, max: 64 }), (elems, blocks) => {
      let at = 0
      for (let b = 0; b < blocks; b++) {
        const [from, to] = blockRange(elems, blocks, b)
        expect(from).toBe(at)
        expect(Math.abs(to - from - elems / blocks)).toBeLessThan(1)
        at = to
      }
      expect(at).toBe(elems)
    }),
  )
})

import { seededRandom } from '@skein/core'
import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  allGatherAlgorithms,
  type AllReduceAlgorithm,
  allReduceAlgorithms,
  reduceScatterAlgorithms,
  rootedAlgorithms,
} from './algorithms.ts'
import { bruckAllToAll, directAllToAll, pairwiseAllToAll, twoLevelAllToAll } from './all-to-all.ts'
import { compress, inUnits } from './compress.ts'
import { binaryTree, doubleTreeAllReduce, mirrored } from './double-tree.ts'
import { embed, permuteRanks } from './embed.ts'
import { halvingDoublingAllReduce } from './halving-doubling.ts'
import { hierarchicalAllReduce } from './hierarchical.ts'
import { type CollectivePlan, isTransfer, sentElems, sentMessages } from './plan.ts'
import { directAllReduce } from './direct.ts'
import { recursiveDoublingAllReduce } from './recursive-doubling.ts'
import { ringAllReduce, ringReduceScatter } from './ring.ts'
import { countRounds } from './simulate.ts'
import { binomialBroadcast } from './tree.ts'
import { checkPlan } from './validate.ts'

useTestSeed()

const rankCounts = Array.from({ length: 16 }, (_, i) => i + 1)
const countsFor = (ranks: number) => [...new Set([0, 1, ranks - 1, ranks, 997, 1_000_000])]
const lgUp = (n: number) => Math.ceil(Math.log2(n))
const lgDown = (n: number) => Math.floor(Math.log2(n))
const isPowerOfTwo = (n: number) => lgUp(n) === lgDown(n)
const totalSent = (plan: CollectivePlan) => plan.ops.reduce((sum, _, rank) => sum + sentElems(plan, rank), 0)
/** Hosts of `perHost` ranks each, ranks dealt round: neighbours are on different hosts. */
const dealt = (numHosts: number, perHost: number) => Array.from({ length: numHosts * perHost }, (_, r) => r % numHosts)

const inPlace = {
  ...allReduceAlgorithms,
  'direct reduce-scatter': reduceScatterAlgorithms.direct,
  'direct all-gather': allGatherAlgorithms.direct,
}

describe.each(Object.entries(inPlace))('%s', (_, generate) => {
  test('is valid for 1 to 16 ranks and awkward counts, whole and in segments', () => {
    for (const ranks of rankCounts) {
      for (const elems of countsFor(ranks)) {
        const segmentElems = Math.max(1, Math.ceil(elems / 37))
        for (const options of [
          { ranks, elems },
          { ranks, elems, segmentElems },
        ]) {
          const plan = generate(options)
          expect({ ...options, problem: checkPlan(plan) }).toEqual({ ...options, problem: undefined })
          expect(plan.ops.flat().every(op => op.to - op.from <= (options.segmentElems ?? elems))).toBe(true)
        }
      }
    }
  })
})

test('with a root they are valid from every root', () => {
  for (const algorithms of Object.values(rootedAlgorithms)) {
    for (const generate of Object.values(algorithms)) {
      for (const ranks of rankCounts) {
        for (let root = 0; root < ranks; root++) {
          for (const elems of [0, 1, ranks - 1, 101]) {
            expect(checkPlan(generate({ ranks, elems, root, segmentElems: 10 }))).toBeUndefined()
          }
        }
        const refused = () => generate({ ranks, elems: 1, root: ranks })
        expect(refused).toThrow(expect.objectContaining({ code: 'SKEIN_PLAN_OPTIONS' }))
      }
    }
  }
})

describe('elements sent and rounds equal the closed forms', () => {
  test.each(rankCounts.slice(1))('with %i ranks', ranks => {
    const survivors = 2 ** lgDown(ranks)
    // A multiple of everything, so that blocks are equal.
    const elems = survivors * ranks * 10
    const o = { ranks, elems }
    const rhd = halvingDoublingAllReduce(o)
    const rd = recursiveDoublingAllReduce(o)
    const folded = ranks - survivors
    for (let rank = 0; rank < ranks; rank++) {
      const gives = rank < 2 * folded && rank % 2 === 0
      const takes = rank < 2 * folded && rank % 2 === 1
      const among = (2 * (survivors - 1) * elems) / survivors
      expect(sentElems(rhd, rank)).toBe(gives ? elems : among + (takes ? elems : 0))
      expect(sentElems(rd, rank)).toBe(gives ? elems : lgDown(ranks) * elems + (takes ? elems : 0))
      expect(sentElems(directAllReduce(o), rank)).toBe((2 * (ranks - 1) * elems) / ranks)
      expect(sentMessages(directAllReduce(o), rank)).toBe(2 * (ranks - 1))
      expect(sentElems(doubleTreeAllReduce(o), rank)).toBeLessThanOrEqual(2 * elems)
    }
    const extra = isPowerOfTwo(ranks) ? 0 : 2
    expect(countRounds(rhd)).toBe(2 * lgDown(ranks) + extra)
    expect(countRounds(rd)).toBe(lgDown(ranks) + extra)
    expect(totalSent(doubleTreeAllReduce(o))).toBe(2 * (ranks - 1) * elems)
  })
})

test('the double tree: at most two children, no rank inner in both trees (with odd N only rank 0, with one child)', () => {
  for (let ranks = 1; ranks <= 64; ranks++) {
    const [first, second] = [binaryTree(ranks), mirrored(binaryTree(ranks))]
    for (const tree of [first, second]) {
      expect(tree.filter(place => place.parent === undefined)).toHaveLength(1)
      for (const { children } of tree) expect(children.length).toBeLessThanOrEqual(2)
    }
    const inBoth = [...first.keys()].filter(
      r => (first[r]?.children.length ?? 0) > 0 && (second[r]?.children.length ?? 0) > 0,
    )
    expect(inBoth).toEqual(ranks > 1 && ranks % 2 === 1 ? [0] : [])
    if (ranks % 2 === 1 && ranks > 1) expect(first[0]?.children.length).toBe(1)
  }
})

describe('hierarchical all-reduce', () => {
  const layouts = [
    [0],
    [0, 0, 0],
    [0, 1, 2],
    [0, 0, 1, 1],
    [0, 1, 0, 1, 0, 1],
    [0, 0, 0, 1],
    [5, 5, 9, 5, 9, 7],
    dealt(4, 4),
  ]

  test('is valid for hosts of equal and of different size', () => {
    for (const hosts of layouts) {
      for (const elems of [0, 1, hosts.length - 1, 101, 1000]) {
        const plan = hierarchicalAllReduce({ ranks: hosts.length, elems, hosts, segmentElems: 30 })
        expect({ hosts, elems, problem: checkPlan(plan) }).toEqual({ hosts, elems, problem: undefined })
      }
    }
  })

  test('each host sends 2(H-1)/H of the buffer to others, however many ranks it has', () => {
    const hosts = dealt(4, 3)
    const elems = 1200
    const plan = hierarchicalAllReduce({ ranks: 12, elems, hosts })
    for (let host = 0; host < 4; host++) {
      let crossing = 0
      for (const [rank, ops] of plan.ops.entries()) {
        if (hosts[rank] !== host) continue
        for (const op of ops) if (op.op === 'send' && hosts[op.peer] !== host) crossing += op.to - op.from
      }
      expect(crossing).toBe((2 * 3 * elems) / 4)
    }
  })
})

describe('all-to-all', () => {
  test('pairwise and direct are valid for any counts, also none, and send what they must', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        fc.nat(),
        fc.integer({ min: 1, max: 5 }),
        (ranks, seed, segmentElems) => {
          const random = seededRandom(seed)
          const counts = Array.from({ length: ranks }, () =>
            Array.from({ length: ranks }, () => (random.nextInt(3) === 0 ? 0 : random.nextInt(9))),
          )
          for (const generate of [pairwiseAllToAll, directAllToAll]) {
            const plan = generate({ counts, segmentElems })
            expect(checkPlan(plan)).toBeUndefined()
            for (const [rank, row] of counts.entries()) {
              expect(sentElems(plan, rank)).toBe(row.reduce((a, b) => a + b, 0) - (row[rank] as number))
            }
          }
        },
      ),
    )
  })

  test.each(rankCounts)('of equal blocks among %i ranks: rounds and elements equal the closed forms', ranks => {
    for (const size of [0, 1, 7]) {
      const counts = Array.from({ length: ranks }, () => Array<number>(ranks).fill(size))
      const bruck = bruckAllToAll({ ranks, blockElems: size })
      const pairwise = pairwiseAllToAll({ counts })
      expect(checkPlan(bruck)).toBeUndefined()
      expect(checkPlan(pairwise)).toBeUndefined()
      expect(countRounds(pairwise)).toBe(size === 0 ? 0 : ranks - 1)
      expect(countRounds(bruck)).toBe(size === 0 ? 0 : lgUp(ranks))
      if (isPowerOfTwo(ranks)) expect(sentElems(bruck, 0)).toBe((ranks / 2) * lgUp(ranks) * size)
    }
  })

  test('in two levels it is valid wherever the ranks of a host are, and sends one message to each other host', () => {
    for (const hosts of [[0], [0, 0], [0, 1], [0, 0, 1, 1], dealt(3, 2), dealt(2, 4), [0, 1, 1, 0, 2, 2]]) {
      const plan = twoLevelAllToAll({ hosts, blockElems: 3 })
      expect({ hosts, problem: checkPlan(plan) }).toEqual({ hosts, problem: undefined })
      const others = new Set(hosts).size - 1
      for (const [rank, ops] of plan.ops.entries()) {
        const crossing = ops.filter(op => op.op === 'send' && hosts[op.peer] !== hosts[rank])
        expect(crossing).toHaveLength(others)
      }
    }
    expect(() => twoLevelAllToAll({ hosts: [0, 0, 1], blockElems: 1 })).toThrow(
      expect.objectContaining({ code: 'SKEIN_PLAN_OPTIONS' }),
    )
  })
})

describe('transformations', () => {
  const coded = Object.keys(allReduceAlgorithms) as AllReduceAlgorithm[]

  test.each(coded)('%s compressed in units stays valid, and cuts no block of the codec', name => {
    for (const ranks of rankCounts) {
      for (const elems of [0, 1, 255, 256, 257, 5000]) {
        const plan = compress(inUnits(allReduceAlgorithms[name], 256)({ ranks, elems, segmentElems: 512 }))
        expect({ ranks, elems, problem: checkPlan(plan) }).toEqual({ ranks, elems, problem: undefined })
        for (const op of plan.ops.flat()) {
          // In a copy of the buffer as in the buffer itself.
          const layer = Math.floor(op.from / elems) * elems
          expect((op.from - layer) % 256).toBe(0)
          expect((op.to - layer) % 256 === 0 || op.to - layer === elems).toBe(true)
          if ('at' in op) expect(op.at).toBe(op.from - elems)
        }
      }
    }
  })

  test('direct all-reduce encodes each block of a rank once on the way out and once as owner', () => {
    const plan = compress(inUnits(directAllReduce, 256)({ ranks: 4, elems: 4096 }))
    for (const ops of plan.ops) {
      const encoded = ops.filter(op => op.op === 'encode').reduce((sum, op) => sum + op.to - op.from, 0)
      expect(encoded).toBe(4096 - 1024 + 1024)
    }
  })

  test('a plan whose encoding was forgotten is refused', () => {
    const plan = compress(inUnits(ringAllReduce, 4)({ ranks: 3, elems: 24 }))
    for (const [rank, ops] of plan.ops.entries()) {
      for (const [index, op] of ops.entries()) {
        if (op.op !== 'encode') continue
        const broken = { ...plan, ops: plan.ops.map((list, r) => (r === rank ? list.toSpliced(index, 1) : list)) }
        expect(checkPlan(broken)?.message).toMatch(/without its encoded form/)
      }
    }
  })

  test('ranks in any order still sum', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6], { minLength: 7 }), order => {
        expect(checkPlan(permuteRanks(ringAllReduce({ ranks: 7, elems: 50, segmentElems: 4 }), order))).toBeUndefined()
      }),
    )
  })

  test('a root goes where its rank goes; blocks stay with their ranks, so their collectives are refused', () => {
    const moved = permuteRanks(binomialBroadcast({ ranks: 3, elems: 5, root: 2 }), [1, 2, 0])
    expect(moved.collective).toEqual({ kind: 'broadcast', root: 0 })
    expect(checkPlan(moved)).toBeUndefined()
    const refused = expect.objectContaining({ code: 'SKEIN_PLAN_OPTIONS' })
    expect(() => permuteRanks(ringReduceScatter({ ranks: 2, elems: 4 }), [1, 0])).toThrow(refused)
    for (const order of [
      [0, 1],
      [0, 1, 1],
      [0, 1, 3],
      [0, 1, 2, 3],
    ]) {
      expect(() => permuteRanks(ringAllReduce({ ranks: 3, elems: 4 }), order)).toThrow(refused)
    }
  })

  test('an embedded plan touches its own part only', () => {
    const lists = embed(ringAllReduce({ ranks: 2, elems: 10 }), [4, 1], 100)
    expect([...lists.keys()]).toEqual([4, 1])
    for (const list of lists.values()) {
      for (const op of list) {
        expect(op.from).toBeGreaterThanOrEqual(100)
        expect(isTransfer(op) && [1, 4].includes(op.peer)).toBe(true)
      }
    }
  })
})

describe('a plan that moves elements is refused when', () => {
  const counts = [
    [1, 2],
    [3, 4],
  ]
  const plan = pairwiseAllToAll({ counts })
  const withOps = (rank: number, change: (ops: CollectivePlan['ops'][number]) => CollectivePlan['ops'][number]) => ({
    ...plan,
    ops: plan.ops.map((list, r) => (r === rank ? change(list) : list)),
  })

  test.each([
    ['it writes the input', withOps(0, ops => [...ops, { op: 'copy', from: 3, to: 4, at: 0 }]), /writes the input/],
    [
      'it leaves the addresses',
      withOps(0, ops => [...ops, { op: 'copy', from: 0, to: 1, at: 7 }]),
      /leaves the buffer/,
    ],
    [
      'a range crosses parts',
      withOps(0, ops => [...ops, { op: 'copy', from: 2, to: 4, at: 5 }]),
      /crosses from one part/,
    ],
    ['it adds', withOps(0, ops => [...ops, { op: 'reduce', from: 0, to: 1, at: 4 }]), /only move/],
    ['a block is in the wrong place', withOps(1, ops => ops.filter(op => op.op !== 'copy')), /ends as .*garbage/],
  ] as const)('%s', (_, broken, message) => {
    expect(checkPlan(broken as CollectivePlan)?.message).toMatch(message)
  })
})

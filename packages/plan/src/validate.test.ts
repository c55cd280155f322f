import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { pairwiseAllToAll } from './all-to-all.ts'
import { disseminationBarrier } from './barrier.ts'
import { type CollectivePlan, isTransfer, type PlanOp, type TransferOp } from './plan.ts'
import { directAllReduce } from './direct.ts'
import { doubleTreeAllReduce } from './double-tree.ts'
import { halvingDoublingAllReduce } from './halving-doubling.ts'
import { ringAllGather, ringAllReduce, ringReduceScatter } from './ring.ts'
import { starAllReduce } from './star.ts'
import { binomialBroadcast, treeAllReduce } from './tree.ts'
import { assertValidPlan, checkPlan } from './validate.ts'

useTestSeed()

interface Place {
  readonly op: TransferOp
  readonly rank: number
  readonly index: number
}

/** A plan, and one of its messages; each has at least one element, or is a token of a barrier. */
const places = fc
  .record({
    ranks: fc.integer({ min: 2, max: 7 }),
    extra: fc.nat(20),
    segmentElems: fc.integer({ min: 3, max: 30 }),
    generator: fc.constantFrom(
      ringAllReduce,
      ringReduceScatter,
      ringAllGather,
      treeAllReduce,
      starAllReduce,
      directAllReduce,
      halvingDoublingAllReduce,
      doubleTreeAllReduce,
      (o: object) => binomialBroadcast({ ranks: 5, elems: 9, ...o, root: 1 }),
    ),
    which: fc.nat(),
  })
  .map(({ ranks, extra, segmentElems, generator, which }) => {
    const plan = generator({ ranks, elems: ranks + extra, segmentElems })
    const all = plan.ops.flatMap((ops, rank) =>
      ops.map((op, index) => ({ op, rank, index })).filter((at): at is Place => isTransfer(at.op)),
    )
    const { op, rank, index } = all[which % all.length] as Place
    return { plan, op, rank, index }
  })

const replace = (plan: CollectivePlan, rank: number, index: number, ...ops: PlanOp[]): CollectivePlan => ({
  ...plan,
  ops: plan.ops.map((list, r) => (r === rank ? list.toSpliced(index, 1, ...ops) : list)),
})

describe('a plan is refused, with the reason, when', () => {
  test('an op is dropped', () => {
    fc.assert(
      fc.property(places, ({ plan, rank, index }) => {
        expect(checkPlan(replace(plan, rank, index))?.kind).toBe('unmatched')
      }),
    )
  })

  test('an op is there twice', () => {
    fc.assert(
      fc.property(places, ({ plan, op, rank, index }) => {
        expect(checkPlan(replace(plan, rank, index, op, op))?.kind).toBe('unmatched')
      }),
    )
  })

  test('a range is one element shorter', () => {
    fc.assert(
      fc.property(places, ({ plan, op, rank, index }) => {
        // An op that had one element becomes a token, which cannot be added.
        expect(checkPlan(replace(plan, rank, index, { ...op, to: op.to - 1 }))?.kind).toMatch(/unmatched|malformed/)
      }),
    )
  })

  test('what should be stored is added, or the other way', () => {
    fc.assert(
      fc.property(
        places.filter(({ op }) => op.op !== 'send'),
        ({ plan, op, rank, index }) => {
          const swapped = replace(plan, rank, index, { ...op, op: op.op === 'recv' ? 'recvReduce' : 'recv' })
          expect(checkPlan(swapped)?.kind).toBe('wrong-result')
        },
      ),
    )
  })

  test('an op has another peer, or none that exists', () => {
    fc.assert(
      fc.property(
        places.filter(({ plan }) => plan.ranks > 2),
        ({ plan, op, rank, index }) => {
          const peer = [...plan.ops.keys()].find(r => r !== rank && r !== op.peer)
          expect(checkPlan(replace(plan, rank, index, { ...op, peer: peer as number }))?.kind).toBe('unmatched')
          for (const bad of [rank, -1, plan.ranks, 0.5]) {
            expect(checkPlan(replace(plan, rank, index, { ...op, peer: bad }))?.kind).toBe('malformed')
          }
        },
      ),
    )
  })
})

const hand = (collective: CollectivePlan['collective'], elems: number, ...ops: PlanOp[][]): CollectivePlan => ({
  name: 'by-hand',
  collective,
  ranks: ops.length,
  elems,
  ops,
})
const op = (kind: TransferOp['op'], peer: number, from: number, to: number): PlanOp => ({ op: kind, peer, from, to })

test('a circle of waits is named rank by rank', () => {
  const ring = [2, 0, 1].map((previous, rank) => [op('recvReduce', previous, 0, 4), op('send', (rank + 1) % 3, 0, 4)])
  expect(checkPlan(hand({ kind: 'all-reduce' }, 4, ...ring))).toEqual({
    kind: 'deadlock',
    message:
      'rank 0 waits in op 0 "recvReduce [0,4) from 2", rank 2 waits in op 0 "recvReduce [0,4) from 1", rank 1 waits in op 0 "recvReduce [0,4) from 0", and so back to rank 0',
  })
})

test('an exchange that only works while sockets buffer it is a deadlock', () => {
  const swap = [1, 0].map(peer => [op('send', peer, 0, 4), op('recv', peer, 0, 4)])
  expect(checkPlan(hand({ kind: 'broadcast', root: 0 }, 4, ...swap))?.kind).toBe('deadlock')
})

test('a wrong sum is told as a sum of ranks', () => {
  const twice = hand(
    { kind: 'all-reduce' },
    2,
    [op('recvReduce', 1, 0, 2), op('recvReduce', 1, 0, 2), op('send', 1, 0, 2)],
    [op('send', 0, 0, 2), op('send', 0, 0, 2), op('recv', 0, 0, 2)],
  )
  expect(checkPlan(twice)?.message).toBe('elements [0,2) of rank 0 end as r0+2·r1, not as r0+r1')
  const unset = hand({ kind: 'broadcast', root: 0 }, 2, [], [])
  expect(checkPlan(unset)?.message).toBe('elements [0,2) of rank 1 end as garbage, not as r0')
})

test('a barrier that lets a rank slip through is refused', () => {
  const barrier = disseminationBarrier({ ranks: 5 })
  const short = { ...barrier, ops: barrier.ops.map(list => list.slice(0, 4)) }
  expect(checkPlan(short)?.message).toMatch(/^rank 0 can end before rank \d has begun$/)
})

test('assertValidPlan throws the problem as a typed error', () => {
  const plan = ringAllReduce({ ranks: 3, elems: 5 })
  expect(() => assertValidPlan(plan)).not.toThrow()
  expect(() => assertValidPlan({ ...plan, ranks: 4 })).toThrow(
    expect.objectContaining({ code: 'SKEIN_PLAN_INVALID', message: expect.stringContaining('3 lists for 4 ranks') }),
  )
})

describe('sizes that cannot be are named', () => {
  const ring = ringAllReduce({ ranks: 2, elems: 4 })
  const exchange = pairwiseAllToAll({
    counts: [
      [1, 2],
      [3, 4],
    ],
  })
  const spaces = exchange.spaces as NonNullable<CollectivePlan['spaces']>
  const withSpace = (change: Partial<(typeof spaces)[number]>) => ({
    ...exchange,
    spaces: [{ ...spaces[0], ...change }, spaces[1]],
  })

  test.each([
    [{ ...ring, ranks: 0, ops: [] }, 'there are 0 ranks'],
    [{ ...ring, elems: -1 }, 'there are -1 elements'],
    [{ ...disseminationBarrier({ ranks: 2 }), elems: 3 }, 'a barrier has 3 elements'],
    [{ ...ring, layers: 0 }, 'there are 0 copies of the buffer'],
    [{ ...ring, collective: { kind: 'reduce', root: 2 } }, 'rank 2 is the root, and is not there'],
    [{ ...ring, spaces }, 'input and output of all-reduce are apart'],
    [{ ...exchange, spaces: undefined }, 'input and output of all-to-all are one'],
    [{ ...exchange, spaces: [spaces[0]] }, 'there are 1 address spaces for 2 ranks'],
    [
      { ...exchange, collective: { kind: 'all-to-all', counts: [[1, 2], [3]] } },
      'the counts are no square of 2 by 2 whole numbers',
    ],
    [withSpace({ inputElems: 4 }), 'the input of rank 0 has 4 elements, its counts 3'],
    [withSpace({ outputElems: 5 }), 'the output of rank 0 has 5 elements, its counts 4'],
    [withSpace({ scratchElems: 0.5 }), 'rank 0 has 0.5 elements of scratch'],
  ] as const)('%#: %o', (plan, message) => {
    expect(checkPlan(plan as unknown as CollectivePlan)).toEqual({ kind: 'malformed', message })
  })
})

test('an encoding of which a part is not sent before it changes is refused', () => {
  const encode: PlanOp = { op: 'encode', from: 0, to: 4 }
  const plan = (...ops: PlanOp[]) =>
    checkPlan(hand({ kind: 'broadcast', root: 0 }, 4, ops, [op('recv', 0, 0, 2), op('recv', 0, 2, 4)]))
  expect(plan(encode, op('send', 1, 0, 2), op('send', 1, 2, 4))).toBeUndefined()
  const message = 'op 0 of rank 0, "encode [0,4)", encodes what is not sent before it changes'
  expect(plan(encode, op('send', 1, 0, 2))).toEqual({ kind: 'malformed', message })
  expect(plan(encode, encode, op('send', 1, 0, 2), op('send', 1, 2, 4))).toEqual({ kind: 'malformed', message })
})

describe('a check that would take too long is not begun', () => {
  test('of a plan in place', () => {
    const plan = ringAllReduce({ ranks: 16, elems: 4096, segmentElems: 8 })
    expect(checkPlan(plan, { maxWork: 1e7 })).toBeUndefined()
    expect(checkPlan(plan, { maxWork: 1e5 })?.kind).toBe('too-much')
    expect(checkPlan({ ...plan, layers: 1e9 }, { maxWork: 1e7 })?.kind).toBe('too-much')
  })

  test('nor are its encodings looked at before', () => {
    const ops = Array.from({ length: 20_000 }, (_, i): PlanOp => ({ op: 'encode', from: i, to: 40_000 - i }))
    expect(checkPlan(hand({ kind: 'all-reduce' }, 40_000, ops), { maxWork: 1e7 })?.kind).toBe('too-much')
  })

  test('nor gone on with, when copies of copies double what lies there', () => {
    const space = { inputElems: 1, outputElems: 1, scratchElems: 2 ** 40 }
    const ops: PlanOp[] = [{ op: 'copy', from: 0, to: 1, at: 3 }]
    for (let size = 2; size < 2 ** 38; size *= 2) ops.push({ op: 'copy', from: 2, to: 2 + size, at: 2 + size })
    const plan = { ...hand({ kind: 'all-to-all', counts: [[1]] }, 1, ops), spaces: [space] }
    expect(checkPlan(plan, { maxWork: 1e5 })?.kind).toBe('too-much')
  })
})

import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { dependenciesOf } from './dependencies.ts'
import type { TransferOp } from './plan.ts'

useTestSeed()

const op = (kind: TransferOp['op'], from: number, to: number): TransferOp => ({ op: kind, peer: 1, from, to })

test('what touches common elements keeps its order; two sends do not wait for each other', () => {
  const ops = [
    op('send', 0, 4),
    op('send', 2, 6),
    op('recv', 4, 8),
    op('recvReduce', 0, 2),
    op('send', 0, 8),
    op('recv', 8, 9),
  ]
  expect(dependenciesOf(ops)).toEqual([[], [], [1], [0], [3, 2], []])
})

test('tokens wait for the tokens that have to arrive before them, and for nothing else', () => {
  const ops = [
    op('recv', 0, 4),
    op('send', 0, 0),
    op('recv', 0, 0),
    op('send', 0, 0),
    op('recv', 0, 0),
    op('send', 0, 4),
  ]
  expect(dependenciesOf(ops)).toEqual([[], [], [], [2], [2], [0]])
})

test('following the waits gives the same order as comparing every pair', () => {
  const arbitraryOp = fc
    .record({
      kind: fc.constantFrom('send', 'recv', 'recvReduce'),
      from: fc.nat(8),
      length: fc.integer({ min: 1, max: 4 }),
    })
    .map(({ kind, from, length }) => op(kind as TransferOp['op'], from, from + length))
  fc.assert(
    fc.property(fc.array(arbitraryOp, { maxLength: 12 }), ops => {
      const closure = (direct: (index: number) => readonly number[]) => {
        const all: Set<number>[] = []
        for (const index of ops.keys()) {
          const before = new Set<number>()
          for (const d of direct(index)) for (const e of [d, ...(all[d] ?? [])]) before.add(e)
          all.push(before)
        }
        return all.map(set => [...set].sort((a, b) => a - b))
      }
      const conflict = (a: TransferOp, b: TransferOp) =>
        a.from < b.to && b.from < a.to && !(a.op === 'send' && b.op === 'send')
      const fast = dependenciesOf(ops)
      const naive = (i: number) =>
        [...Array(i).keys()].filter(j => conflict(ops[j] as TransferOp, ops[i] as TransferOp))
      expect(closure(i => fast[i] ?? [])).toEqual(closure(naive))
    }),
  )
})

import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Strangers } from './strangers.ts'

useTestSeed()

test('whatever comes, never more than the limit are in, and one that is alone at its address stays while others have two', () => {
  const arrivals = fc.array(fc.record({ from: fc.nat(4), leaves: fc.boolean() }), { maxLength: 200 })
  fc.assert(
    fc.property(arrivals, fc.integer({ min: 1, max: 8 }), (events, max) => {
      const strangers = new Strangers<{ readonly from: number }>(max)
      const here = new Map<{ readonly from: number }, number>()
      for (const [nowMs, { from, leaves }] of events.entries()) {
        const perAddress = new Map<number, number>()
        for (const one of here.keys()) perAddress.set(one.from, (perAddress.get(one.from) ?? 0) + 1)
        const most = Math.max(0, ...perAddress.values())
        const one = { from }
        const isFull = here.size === max
        const outgoing = strangers.add(one, String(from), nowMs)
        expect(outgoing !== undefined).toBe(isFull)
        here.set(one, nowMs)
        if (outgoing !== undefined) {
          expect(perAddress.get(outgoing.from)).toBe(most)
          const oldest = Math.min(...[...here].filter(([o]) => o.from === outgoing.from).map(([, at]) => at))
          expect(here.get(outgoing)).toBe(oldest)
          here.delete(outgoing)
        }
        if (leaves) {
          expect(strangers.remove(one)).toBe(true)
          expect(strangers.remove(one)).toBe(false)
          here.delete(one)
        }
        expect(strangers.size).toBe(here.size)
        expect(new Set(strangers)).toEqual(new Set(here.keys()))
      }
    }),
  )
})

test('late are those that have done nothing for too long; who is renewed has its time anew', () => {
  const strangers = new Strangers<string>(10)
  strangers.add('a', 'x', 0)
  strangers.add('b', 'x', 10)
  strangers.add('c', 'y', 20)
  strangers.renew('a', 25)
  strangers.renew('nobody', 25)
  expect(strangers.since(20)).toEqual(['b'])
  expect(strangers.since(26)).toEqual(['b', 'c', 'a'])
  strangers.remove('b')
  expect(strangers.since(26)).toEqual(['c', 'a'])
})

import fc from 'fast-check'
import type { CollectivePlan } from '@skein/plan'
import { useTestSeed } from '@skein/testkit'
import { expect, test } from 'vitest'
import { findSlowLink, findStuckLink } from './find-link.ts'
import { findLate, findMissing } from './find-rank.ts'
import {
  flightRecords,
  linkCosts,
  plansFor,
  type SimulatedCollective,
  usedLinks,
} from './simulated-flight.test.support.ts'

useTestSeed()

const kinds = ['all-reduce', 'reduce-scatter', 'all-gather', 'all-to-all'] as const
const elems = 1 << 20
const leastLateMs = 10

/** Every algorithm for 2 to 9 ranks, and what to inject where. */
const worlds = fc.integer({ min: 2, max: 9 }).chain(ranks => {
  const plans = plansFor(kinds, ranks, elems)
  return fc.record({
    ranks: fc.constant(ranks),
    plan: fc.integer({ min: 0, max: plans.length - 1 }).map(i => (plans[i] as (typeof plans)[number])[1]),
    victim: fc.integer({ min: 0, max: ranks - 1 }),
    pick: fc.nat(),
    // Nobody enters at the very same moment.
    jitterMs: fc.array(fc.double({ min: 0, max: 2, noNaN: true }), { minLength: ranks, maxLength: ranks }),
  })
})

/** Three ops, a second apart; `entered` says when each rank comes to an op that begins at 0. */
function threeOps(plan: CollectivePlan, entered: readonly number[], costs = linkCosts()): SimulatedCollective[] {
  return [0, 1, 2].map(opSeq => ({
    plan,
    opSeq,
    costs,
    enteredMs: entered.map(ms => opSeq * 1000 + ms),
  }))
}

test('a rank that comes late to three ops is named, by every algorithm', () => {
  fc.assert(
    fc.property(worlds, fc.double({ min: 15, max: 400, noNaN: true }), ({ plan, victim, jitterMs }, lateMs) => {
      const entered = jitterMs.map((ms, rank) => ms + (rank === victim ? lateMs : 0))
      const late = findLate(flightRecords(threeOps(plan, entered), 3000), leastLateMs)
      expect(late).toMatchObject({ rank: victim, numOps: 3 })
      expect(Math.abs((late?.lateMs ?? 0) - lateMs)).toBeLessThan(2.001)
    }),
    { numRuns: 150 },
  )
})

test('a rank that has not entered is named while the others wait, by every algorithm', () => {
  fc.assert(
    fc.property(worlds, ({ plan, victim, jitterMs }) => {
      const ops = threeOps(plan, jitterMs)
      const missing = {
        ...(ops[2] as SimulatedCollective),
        enteredMs: jitterMs.map((ms, r) => (r === victim ? Infinity : 2000 + ms)),
      }
      const records = flightRecords([...ops.slice(0, 2), missing], 5000)
      expect(findMissing(records)).toMatchObject({ ranks: [victim], op: { opSeq: 2 } })
      expect(findMissing(records)?.waitedMs).toBeGreaterThan(2900)
    }),
    { numRuns: 150 },
  )
})

test('a link ten times as slow is named within three ops, by every algorithm that uses it', () => {
  fc.assert(
    fc.property(worlds, ({ plan, pick, jitterMs }) => {
      const links = usedLinks(plan, 400_000)
      const slow = links[pick % links.length] as (typeof links)[number]
      const costs = linkCosts({ ...slow, factor: 10 })
      const found = findSlowLink(flightRecords(threeOps(plan, jitterMs, costs), 4000))
      expect(found).toMatchObject({ ...slow, numOps: 3 })
      expect((found?.bytesPerSecond ?? 0) / 1e8).toBeCloseTo(1, 5)
      expect((found?.othersBytesPerSecond ?? 0) / 1e9).toBeCloseTo(1, 5)
    }),
    { numRuns: 150 },
  )
})

test('a frame that does not arrive names its link, by every algorithm', () => {
  fc.assert(
    fc.property(worlds, ({ plan, pick, jitterMs }) => {
      const links = usedLinks(plan, 1)
      const stuck = links[pick % links.length] as (typeof links)[number]
      const costs = linkCosts({ ...stuck, factor: 1e9 })
      const records = flightRecords([{ plan, opSeq: 0, enteredMs: jitterMs, costs }], 5000)
      expect(findMissing(records)).toBeUndefined()
      expect(findStuckLink(records)).toMatchObject(stuck)
    }),
    { numRuns: 150 },
  )
})

test('where nothing is wrong nobody is named, at any moment of an op', () => {
  fc.assert(
    fc.property(worlds, fc.double({ min: 2, max: 900, noNaN: true }), ({ plan, jitterMs }, afterMs) => {
      const records = flightRecords(threeOps(plan, jitterMs), 2000 + afterMs)
      expect(findLate(records, leastLateMs)).toBeUndefined()
      expect(findMissing(records)).toBeUndefined()
      expect(findSlowLink(records)).toBeUndefined()
    }),
    { numRuns: 150 },
  )
})

test('records that came in at different times are compared at one', () => {
  const [[, plan]] = plansFor(['all-reduce'], 3, elems) as [[string, CollectivePlan]]
  const ops = threeOps(plan, [0, 40, 0])
  const early = flightRecords(ops, 2500)
  const late = flightRecords(ops, 2900)
  // Rank 1 answered 400 ms after the others: ages alone would make it early, and with the time since they came in it is late.
  const mixed = early.map((record, rank) => (rank === 1 ? (late[1] as typeof record) : { ...record, ageMs: 400 }))
  expect(findLate(mixed, leastLateMs)).toMatchObject({ rank: 1, lateMs: expect.closeTo(40) as number })
})

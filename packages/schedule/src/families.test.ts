import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { peakActivations } from './activations.ts'
import { type Costs, unitCosts, workOf } from './costs.ts'
import { families, familyOf, generateSchedule } from './families.ts'
import { type Family, type ScheduleOptions, type Sizes, sizesOf } from './family.ts'
import type { ScheduleOp } from './schedule.ts'
import { simulate } from './simulate.ts'
import { steadyPeriodOf } from './steady.ts'
import { messagesBetween } from './traffic.ts'
import { lower } from './transfers.ts'
import { checkSchedule } from './validate.ts'

/** The sizes if the rule makes such a schedule; it says what would do if not. */
function sizesIf(family: Family, options: ScheduleOptions): Sizes | undefined {
  try {
    return sizesOf(family, options)
  } catch (refusal) {
    expect(String(refusal)).toMatch(/was asked for with .* pass |leave/su)
    return undefined
  }
}

const anySizes = (family: Family) =>
  fc
    .record({
      ranks: fc.integer({ min: 1, max: 8 }),
      microbatches: fc.integer({ min: 1, max: 32 }),
      /** Many forms are for as many microbatches as ranks, or a multiple. */
      times: fc.integer({ min: 0, max: 4 }),
      chunks: family.chunks === 'any' ? fc.integer({ min: 1, max: 4 }) : fc.constant(family.chunks),
      slices: family.slices === true ? fc.integer({ min: 1, max: 5 }) : fc.constant(1),
    })
    .map(({ times, ...options }) => (times === 0 ? options : { ...options, microbatches: times * options.ranks }))
    .map(options => sizesIf(family, options) ?? sizesIf(family, { ...options, microbatches: roomy(options.ranks) }))
    .filter(sizes => sizes !== undefined)

/** A number of microbatches that most rules take. */
const roomy = (ranks: number) => 4 * ranks

const cost = fc.integer({ min: 1, max: 40 }).map(tenths => tenths / 10)
const anyCosts: fc.Arbitrary<Costs> = fc.oneof(
  { weight: 1, arbitrary: fc.constant(unitCosts) },
  { weight: 3, arbitrary: fc.record({ forward: cost, inputGrad: cost, weightGrad: cost }) },
)

const near = (value: number, expected: number) =>
  expect(Math.abs(value - expected), `${value} for ${expected}`).toBeLessThan(1e-6)

describe.each(families.map(family => [family.name, family] as const))('%s', (_, family) => {
  test('is valid for 1 to 8 ranks and 1 to 32 microbatches, with its messages too, or says what would do', () => {
    fc.assert(
      fc.property(anySizes(family), sizes => {
        const schedule = family.generate(sizes)
        expect(checkSchedule(schedule)).toBeUndefined()
        expect(checkSchedule(lower(schedule))).toBeUndefined()
        expect(schedule.name).toBe(family.name)
      }),
      { numRuns: 60 },
    )
  })

  test('holds on each rank what its closed form says, walked and simulated, and never more than it promises', () => {
    fc.assert(
      fc.property(anySizes(family), anyCosts, (given, costs) => {
        const sizes = { ...given, costs }
        const schedule = family.generate(sizes)
        const most = family.forms.mostHeld?.(sizes)
        if (most !== undefined) near(Math.max(...peakActivations(schedule)), most)
        const simulated = simulate(schedule, costs).peakActivations
        for (const [rank, held] of peakActivations(schedule).entries()) {
          expect(held).toBeLessThanOrEqual((schedule.promise?.[rank] ?? Number.NaN) + 1e-9)
          near(simulated[rank] as number, held)
          const expected = family.forms.peak?.(sizes, rank)
          if (expected !== undefined) near(held, expected)
        }
      }),
      { numRuns: 60 },
    )
  })

  test('with any op dropped, doubled or put on another rank it is refused', () => {
    fc.assert(
      fc.property(anySizes(family), fc.nat(), fc.nat(), (sizes, pick, where) => {
        const schedule = family.generate(sizes)
        const rank = pick % sizes.ranks
        const list = schedule.ops[rank] ?? []
        // The rank may have nothing to do but its update.
        const index = where % list.length
        const op = list[index] as ScheduleOp
        const kindOf = (...lists: (readonly ScheduleOp[])[]) =>
          checkSchedule({
            ...schedule,
            ops: schedule.ops.map((old, r) => lists[(r - rank + sizes.ranks) % sizes.ranks] ?? old),
          })?.kind
        const without = list.toSpliced(index, 1)
        expect(kindOf(without)).toBe(op.op === 'update' ? 'order' : 'missing')
        expect(kindOf(list.toSpliced(index, 0, op))).toBe(op.op === 'update' ? 'order' : 'doubled')
        const next = schedule.ops[(rank + 1) % sizes.ranks] ?? []
        if (sizes.ranks > 1 && op.op !== 'update') expect(kindOf(without, [op, ...next])).toBe('misplaced')
      }),
      { numRuns: 40 },
    )
  })

  test('with one activation less promised than it holds it is refused', () => {
    fc.assert(
      fc.property(anySizes(family), fc.nat(), (sizes, pick) => {
        const schedule = family.generate(sizes)
        const held = peakActivations(schedule)
        const rank = pick % sizes.ranks
        const promise = held.map((most, r) => (r === rank ? most - 0.01 : most))
        expect(checkSchedule({ ...schedule, promise: held })).toBeUndefined()
        expect(checkSchedule({ ...schedule, promise })?.kind).toBe('memory')
      }),
      { numRuns: 20 },
    )
  })

  test('sends as many messages as its closed form says', () => {
    fc.assert(
      fc.property(anySizes(family), sizes => {
        const sent = messagesBetween(family.generate(sizes)).flat()
        expect(sent.reduce((sum, count) => sum + count, 0)).toBe(family.forms.messages(sizes))
      }),
      { numRuns: 30 },
    )
  })
})

test.each(families.filter(({ takesCap }) => takesCap === true).map(family => [family.name, family] as const))(
  '%s is valid with any cap that it takes, and holds no more',
  (_, family) => {
    const cap = fc.integer({ min: 1, max: 24 }).map(halves => halves / 2)
    fc.assert(
      fc.property(anySizes(family), anyCosts, cap, (given, costs, cap) => {
        const sizes = sizesIf(family, { ...given, costs, cap })
        fc.pre(sizes !== undefined)
        const schedule = family.generate(sizes)
        expect(checkSchedule(schedule)).toBeUndefined()
        expect(Math.max(...peakActivations(schedule))).toBeLessThanOrEqual(cap)
      }),
      { numRuns: 100 },
    )
  },
)

type ExtraTime = (sizes: Sizes, costs: Costs) => number | undefined

/** The families that have a closed form of this name, with it. */
const withForm = (name: 'extra' | 'steadyExtra') =>
  families.flatMap(family => {
    const form: ExtraTime | undefined = family.forms[name]
    return form === undefined ? [] : [[family.name, family, form] as const]
  })

test.each(withForm('extra'))('%s takes the time that its closed form says, whatever the costs', (_, family, extra) => {
  fc.assert(
    fc.property(anySizes(family), anyCosts, (given, costs) => {
      const sizes = { ...given, costs }
      const expected = extra(sizes, costs)
      fc.pre(expected !== undefined)
      near(simulate(family.generate(sizes), costs).makespan - sizes.microbatches * workOf(costs), expected)
    }),
    { numRuns: 60, maxSkipsPerRun: 1000 },
  )
})

test.each(withForm('steadyExtra'))(
  '%s without a barrier between steps takes the time that its closed form says',
  (_, family, steadyExtra) => {
    fc.assert(
      fc.property(anySizes(family), anyCosts, (given, costs) => {
        const sizes = { ...given, costs }
        const expected = steadyExtra(sizes, costs)
        fc.pre(expected !== undefined)
        near(steadyPeriodOf(family, sizes, costs) - sizes.microbatches * workOf(costs), expected)
      }),
      { numRuns: 12, maxSkipsPerRun: 1000 },
    )
  },
)

/** Simulated beforehand by another program, all passes one unit: extra, and peak of the rank that holds most. */
const golden: readonly [name: string, options: ScheduleOptions, extra: number, peak: number][] = [
  ['gpipe', { ranks: 4, microbatches: 8 }, 9, 8],
  ['gpipe', { ranks: 8, microbatches: 16 }, 21, 16],
  ['1f1b', { ranks: 4, microbatches: 8 }, 9, 4],
  ['1f1b', { ranks: 8, microbatches: 16 }, 21, 8],
  ['interleaved', { ranks: 4, microbatches: 8, chunks: 2 }, 4.5, 5.5],
  ['interleaved', { ranks: 4, microbatches: 8, chunks: 4 }, 2.25, 4.75],
  ['interleaved', { ranks: 8, microbatches: 16, chunks: 2 }, 10.5, 11.5],
  ['interleaved', { ranks: 8, microbatches: 16, chunks: 4 }, 5.25, 9.75],
  ['breadth-first', { ranks: 4, microbatches: 8, chunks: 2 }, 4.5, 8],
  ['breadth-first', { ranks: 8, microbatches: 16, chunks: 4 }, 5.25, 16],
  ['zb-h1', { ranks: 4, microbatches: 8 }, 3, 4],
  ['zb-h1', { ranks: 8, microbatches: 16 }, 7, 8],
  ['zb-h2', { ranks: 4, microbatches: 8 }, 3, 7],
  ['zb-h2', { ranks: 8, microbatches: 16 }, 7, 15],
  ['zb-v', { ranks: 4, microbatches: 8 }, 1.5, 4],
  ['zb-v', { ranks: 8, microbatches: 16 }, 3.5, 8],
  ['v-half', { ranks: 4, microbatches: 8 }, 2.5, 3],
  ['v-half', { ranks: 8, microbatches: 16 }, 8.5, 5],
  ['v-min', { ranks: 4, microbatches: 8 }, 5.5, 2],
  ['v-min', { ranks: 8, microbatches: 16 }, 13.5, 4],
  ['hanayo', { ranks: 4, microbatches: 4, chunks: 2 }, 6, 4],
  ['hanayo', { ranks: 4, microbatches: 4, chunks: 4 }, 3.25, 4],
  ['hanayo', { ranks: 8, microbatches: 8, chunks: 2 }, 14, 8],
  ['hanayo', { ranks: 8, microbatches: 8, chunks: 4 }, 7.5, 8],
  ['bitpipe', { ranks: 4, microbatches: 4 }, 2, 4],
  ['bitpipe', { ranks: 4, microbatches: 8 }, 2, 4],
  ['bitpipe', { ranks: 8, microbatches: 8 }, 6, 8],
  ['bitpipe', { ranks: 8, microbatches: 16 }, 7, 8.5],
]

test.each(golden)('%s %j: extra %d, peak %d', (name, options, extra, peak) => {
  const simulation = simulate(generateSchedule(name, options), unitCosts)
  near(simulation.makespan - options.microbatches * workOf(unitCosts), extra)
  near(Math.max(...simulation.peakActivations), peak)
})

/** Bubble in per cent when a hop takes 0, 0.1, 0.25, 0.5 and 1 forward, 8 ranks and 32 microbatches; from the same program. */
const overHops: readonly [name: string, chunks: number, bubbles: readonly number[]][] = [
  ['gpipe', 1, [18, 19, 20, 23, 27]],
  ['1f1b', 1, [18, 23, 28, 36, 48]],
  ['interleaved', 2, [10, 12, 16, 21, 38]],
  ['interleaved', 4, [5, 11, 18, 38, 59]],
  ['breadth-first', 2, [10, 11, 13, 15, 20]],
  ['zb-h1', 1, [7, 9, 13, 18, 36]],
  ['zb-h2', 1, [7, 7, 8, 10, 13]],
  ['zb-v', 2, [4, 7, 11, 18, 30]],
  ['v-half', 2, [8, 12, 18, 36, 56]],
  ['v-min', 2, [12, 25, 39, 53, 68]],
]

test.each(overHops)('over slow hops %s with %d chunks idles %j per cent', (name, chunks, bubbles) => {
  const schedule = generateSchedule(name, { ranks: 8, microbatches: 32, chunks })
  const simulated = [0, 0.1, 0.25, 0.5, 1].map(hop => simulate(schedule, { ...unitCosts, hop }).syncBubble * 100)
  for (const [i, bubble] of bubbles.entries()) expect(Math.abs((simulated[i] as number) - bubble)).toBeLessThan(0.55)
})

test('an unknown name is refused with the nearest known one', () => {
  expect(() => familyOf('zb-h')).toThrow(/did you mean zb-h1\?/)
})

test.each<[string, ScheduleOptions, RegExp]>([
  ['gpipe', { ranks: 0, microbatches: 4 }, /0 ranks.*pass a whole number from 1/su],
  ['gpipe', { ranks: 2, microbatches: 4, chunks: 2 }, /2 chunks on each rank.*it has 1/su],
  ['1f1b', { ranks: 2, microbatches: 4, slices: 2 }, /2 slices.*does not cut the sequence/su],
  ['interleaved', { ranks: 4, microbatches: 6 }, /pass a multiple of 4 microbatches/u],
  ['1f1b', { ranks: 4, microbatches: 8, cap: 1 }, /a cap of 1\b.*leave cap out/su],
  ['zeropp', { ranks: 4, microbatches: 8, cap: 1 }, /pass a cap of at least 2 activations/u],
  ['skippipe', { ranks: 4, microbatches: 8, cap: 0.5 }, /pass a cap of at least 1 activation/u],
  ['zb-h2', { ranks: 4, microbatches: 6 }, /pass at least 7 microbatches/u],
])('%s with %j is refused with what would do', (name, options, message) => {
  expect(() => generateSchedule(name, options)).toThrow(message)
})

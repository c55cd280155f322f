import { seededRandom, SkeinError } from '@skein/core'
import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ShaperErrors } from './errors.ts'
import { LinkModel, type LinkShape } from './link-model.ts'

const seed = useTestSeed()

const shapes: fc.Arbitrary<LinkShape & { rateMbit: number; delayMs: number; jitterMs: number }> = fc.record({
  rateMbit: fc.constantFrom(0.5, 8, 100, 10_000),
  delayMs: fc.constantFrom(0, 0.25, 20),
  jitterMs: fc.constantFrom(0, 3),
})
/** Bytes handed over, and ms since the time before. */
const offers = fc.array(fc.tuple(fc.nat(100_000), fc.constantFrom(0, 0, 0.1, 7)), { maxLength: 30 })

interface Arrival {
  readonly atMs: number
  readonly bytes: number
}

/** Runs the model to its end, as one who is there at every due time. */
function arrivals(model: LinkModel, given: readonly (readonly [number, number])[]): Arrival[] {
  const found: Arrival[] = []
  const takeUntil = (nowMs: number) => {
    for (let due = model.nextDueMs; due !== undefined && due <= nowMs; due = model.nextDueMs) {
      found.push({ atMs: due, bytes: model.take(due) })
    }
  }
  let nowMs = 0
  for (const [bytes, pauseMs] of given) {
    nowMs += pauseMs
    takeUntil(nowMs)
    model.offer(bytes, nowMs)
  }
  takeUntil(Number.POSITIVE_INFINITY)
  return found
}

test('every byte arrives once, in order, never before its rate and delay allow and never later than the jitter', () => {
  fc.assert(
    fc.property(shapes, offers, (shape, given) => {
      const found = arrivals(new LinkModel(shape, seededRandom(seed)), given)
      // By bytes: when the last byte of each offer has been sent at the rate.
      const perMs = (shape.rateMbit * 1e6) / 8 / 1e3
      let nowMs = 0
      let freeMs = 0
      let end = 0
      const sent = given.map(([bytes, pauseMs]) => {
        nowMs += pauseMs
        freeMs = Math.max(freeMs, nowMs) + bytes / perMs
        end += bytes
        return { end, freeMs }
      })
      let arrived = 0
      let lastMs = 0
      for (const { atMs, bytes } of found) {
        expect(atMs).toBeGreaterThanOrEqual(lastMs)
        lastMs = atMs
        arrived += bytes
        // Offers of no bytes end where the one before them does.
        const offer = sent.find(one => one.end === arrived)
        if (offer === undefined) continue
        const waitedMs = atMs - offer.freeMs
        expect(waitedMs).toBeGreaterThan(shape.delayMs - 1e-6)
        // Jitter of an earlier piece may hold a later one back: order costs no more than the largest jitter.
        expect(waitedMs).toBeLessThan(shape.delayMs + shape.jitterMs + 1e-6)
      }
      expect(arrived).toBe(end)
    }),
  )
})

test('a link that was idle does not make up for it', () => {
  const model = new LinkModel({ rateMbit: 8, delayMs: 5 }, seededRandom(seed))
  model.offer(1_000, 0)
  model.offer(1_000, 100)
  expect(model.take(5.9)).toBe(0)
  expect(model.take(6)).toBe(1_000)
  expect(model.nextDueMs).toBe(106)
  expect(model.take(106)).toBe(1_000)
  expect([model.heldBytes, model.nextDueMs]).toEqual([0, undefined])
})

test('a stream flows in pieces of a millisecond', () => {
  const model = new LinkModel({ rateMbit: 80 }, seededRandom(seed))
  model.offer(100_000, 0)
  expect([1, 2, 3].map(nowMs => model.take(nowMs))).toEqual([10_000, 10_000, 10_000])
})

test('same seed, same jitter; another seed, another', () => {
  const run = (s: number) =>
    arrivals(new LinkModel({ rateMbit: 10, jitterMs: 5 }, seededRandom(s)), [
      [5_000, 0],
      [5_000, 1],
    ])
  expect(run(1)).toEqual(run(1))
  expect(run(1)).not.toEqual(run(2))
})

test('one who stops when there is no room never holds more than the bound and one chunk', () => {
  fc.assert(
    fc.property(shapes, fc.integer({ min: 1, max: 200_000 }), (shape, maxHeldBytes) => {
      const model = new LinkModel({ ...shape, maxHeldBytes }, seededRandom(seed))
      for (let nowMs = 0; nowMs < 50; nowMs += 0.5) {
        while (model.hasRoom) model.offer(65_536, nowMs)
        expect(model.heldBytes).toBeLessThan(maxHeldBytes + 65_536)
        model.take(nowMs)
      }
    }),
  )
})

test('a window of rate times delay is kept full: the bound costs no throughput by default', () => {
  const model = new LinkModel({ rateMbit: 100, delayMs: 40, jitterMs: 2 }, seededRandom(seed))
  let arrived = 0
  for (let nowMs = 0; nowMs <= 1_000; nowMs++) {
    while (model.hasRoom) model.offer(65_536, nowMs)
    arrived += model.take(nowMs)
  }
  expect((arrived * 8) / 1e6 / 0.958).toBeGreaterThan(99)
})

test.each([
  [{ rateMbit: 0 }, 'rateMbit'],
  [{ rateMbit: Number.NaN }, 'rateMbit'],
  [{ delayMs: -1 }, 'delayMs'],
  [{ jitterMs: Number.POSITIVE_INFINITY }, 'jitterMs'],
  [{ maxHeldBytes: 0 }, 'maxHeldBytes'],
])('%j is no shape', (shape, name) => {
  let thrown: unknown
  try {
    new LinkModel(shape, seededRandom(seed))
  } catch (error) {
    thrown = error
  }
  expect(thrown).toBeInstanceOf(SkeinError)
  expect((thrown as SkeinError).code).toBe(ShaperErrors.BAD_SHAPE.code)
  expect((thrown as SkeinError).what).toContain(name)
})

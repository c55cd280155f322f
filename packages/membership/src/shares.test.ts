import fc from 'fast-check'
import { fuzzRuns, useTestSeed } from '@skein/testkit'
import { describe, expect, test } from 'vitest'
import { speedsOfShares } from './dividing.ts'
import { equalShares, sharesBySpeed, slowestTime } from './shares.ts'

useTestSeed()

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)
const aSpeed = fc.double({ min: 1e-3, max: 1e6, noNaN: true })
const speeds = fc.array(aSpeed, { minLength: 1, maxLength: 12 })
const aBatch = fc.integer({ min: 1, max: 500 })

function forAll(law: (batch: number, speeds: number[]) => void): void {
  fc.assert(fc.property(aBatch, speeds, law), { numRuns: fuzzRuns(500) })
}

describe('shares by speed', () => {
  test.each([
    [12, [1, 1, 1], [4, 4, 4]],
    [12, [2, 2, 1], [5, 5, 2]],
    [12, [1, 2, 2], [2, 5, 5]],
    [10, [3, 1], [8, 2]],
    [7, [1, 1, 1], [3, 2, 2]],
    [8, [1000, 1, 1], [6, 1, 1]],
    [2, [5, 1, 1], [0, 1, 1]],
  ])('%i samples at the speeds %j are %j', (batch, given, shares) => {
    expect(sharesBySpeed(batch, given)).toEqual(shares)
  })

  test('are whole, make up the batch, and leave nobody without one where there are enough', () => {
    forAll((batch, given) => {
      const shares = sharesBySpeed(batch, given)
      expect(sum(shares)).toBe(batch)
      expect(shares.every(Number.isInteger)).toBe(true)
      expect(Math.min(...shares)).toBeGreaterThanOrEqual(batch >= given.length ? 1 : 0)
    })
  })

  test('are less than one sample from what is each one’s by its speed, but for those who get one all the same', () => {
    forAll((batch, given) => {
      const exact = given.map(speed => (batch * speed) / sum(given))
      fc.pre(Math.min(...exact) >= 1)
      for (const [rank, share] of sharesBySpeed(batch, given).entries()) {
        expect(Math.abs(share - (exact[rank] as number))).toBeLessThan(1)
      }
    })
  })

  test('are never smaller for the faster of two', () => {
    forAll((batch, given) => {
      fc.pre(batch >= given.length)
      const shares = sharesBySpeed(batch, given)
      for (const [a, speed] of given.entries())
        for (const [b, other] of given.entries())
          if (speed > other) expect(shares[a]).toBeGreaterThanOrEqual(shares[b] as number)
    })
  })

  test('never shrink for one that becomes faster', () => {
    fc.assert(
      fc.property(
        aBatch,
        speeds,
        fc.nat(),
        fc.double({ min: 1, max: 10, noNaN: true }),
        (batch, given, who, factor) => {
          const rank = who % given.length
          const faster = given.with(rank, (given[rank] as number) * factor)
          expect(sharesBySpeed(batch, faster)[rank]).toBeGreaterThanOrEqual(sharesBySpeed(batch, given)[rank] as number)
        },
      ),
      { numRuns: fuzzRuns(500) },
    )
  })

  test('go with their members when ranks change, but for equals', () => {
    const distinct = fc.uniqueArray(fc.integer({ min: 1, max: 1000 }), { minLength: 1, maxLength: 12 })
    fc.assert(
      fc.property(aBatch, distinct, fc.infiniteStream(fc.nat()), (batch, given, random) => {
        fc.pre(batch >= given.length)
        const order = given.map((_, i) => [random.next().value as number, i] as const).sort(([a], [b]) => a - b)
        const moved = sharesBySpeed(
          batch,
          order.map(([, i]) => given[i] as number),
        )
        const shares = sharesBySpeed(batch, given)
        // Equal remainders of different speeds go by rank, so one sample may move.
        for (const [place, [, i]] of order.entries())
          expect(Math.abs((moved[place] as number) - (shares[i] as number))).toBeLessThanOrEqual(1)
        expect(moved.toSorted((a, b) => a - b)).toSatisfy((all: number[]) => sum(all) === batch)
      }),
      { numRuns: fuzzRuns(300) },
    )
  })

  test('do not depend on the unit of the speeds', () => {
    forAll((batch, given) => {
      const inAnother = given.map(speed => speed * 1024)
      expect(sharesBySpeed(batch, inAnother)).toEqual(sharesBySpeed(batch, given))
    })
  })

  test('divided again and again never make a step longer by more than a sample, also where part of it does not grow with the samples', () => {
    const aWorker = fc.record({ fixedMs: fc.integer({ min: 0, max: 500 }), sampleMs: fc.integer({ min: 1, max: 50 }) })
    const workers = fc.array(aWorker, { minLength: 2, maxLength: 6 })
    fc.assert(
      fc.property(fc.integer({ min: 6, max: 200 }), workers, (batch, given) => {
        const timeOf = (rank: number, share: number) =>
          (given[rank]?.fixedMs as number) + share * (given[rank]?.sampleMs as number)
        const stepMs = (of: readonly number[]) => Math.max(...of.map((share, rank) => timeOf(rank, share)))
        const aSample = Math.max(...given.map(({ sampleMs }) => sampleMs))
        let shares = equalShares(batch, given.length)
        for (let round = 0; round < 8; round++) {
          // What is measured of a worker counts its fixed part to its samples.
          const next = sharesBySpeed(
            batch,
            shares.map((share, rank) => share / timeOf(rank, share)),
          )
          expect(stepMs(next)).toBeLessThanOrEqual(stepMs(shares) + aSample)
          shares = next
        }
      }),
      { numRuns: fuzzRuns(300) },
    )
  })

  test('are as good as the best division there is, in small cases tried one by one, to within a sample of the slowest', () => {
    fc.assert(
      fc.property(fc.integer({ min: 3, max: 16 }), fc.tuple(aSpeed, aSpeed, aSpeed), (batch, given) => {
        let best = Number.POSITIVE_INFINITY
        for (let a = 1; a <= batch - 2; a++)
          for (let b = 1; a + b < batch; b++) best = Math.min(best, slowestTime([a, b, batch - a - b], given))
        expect(slowestTime(sharesBySpeed(batch, given), given)).toBeLessThanOrEqual(best + 1 / Math.min(...given))
      }),
      { numRuns: fuzzRuns(200) },
    )
  })
})

test('what shares of equals say about speeds is nothing, whoever has one sample more', () => {
  const logged = (shares: readonly number[]) => shares.map((share, i) => ({ workerId: `w${i}`, share }))
  const cases = [
    [12, 3],
    [7, 3],
    [2, 5],
    [1, 1],
  ] as const
  for (const [batch, size] of cases) {
    expect(speedsOfShares(logged(equalShares(batch, size)))).toEqual({})
  }
  expect(speedsOfShares(logged([5, 5, 2]))).toEqual({ w0: 5, w1: 5, w2: 2 })
})

import { seededRandom } from '@skein/core'
import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodePrime8, encodePrime8 } from './prime8.ts'

useTestSeed()

const roundTrip = (...values: number[]) => [...decodePrime8(encodePrime8(Float32Array.from(values)))]

test('zeros, one element and none come back as they were', () => {
  expect(roundTrip(0, 0, 0)).toEqual([0, 0, 0])
  expect(roundTrip(-7.5)).toEqual([-7.5])
  expect(roundTrip()).toEqual([])
})

test('a value of its own bin comes back as it was, values of one bin as their mean', () => {
  expect(roundTrip(1, -1, 1, -1)).toEqual([1, -1, 1, -1])
  expect(roundTrip(100, -100, 1, 1.5)).toEqual([100, -100, 1.25, 1.25])
})

test('within 3σ the error is a bin at most; beyond it the outermost bin takes all', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 2000 }), fc.nat(), (n, seed) => {
      const random = seededRandom(seed)
      const x = Float32Array.from({ length: n }, () => random.nextNormal() ** 3)
      const decoded = decodePrime8(encodePrime8(x))
      const sigma = Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / (n - 1))
      for (let i = 0; i < n; i++) {
        const [value, back] = [x[i] as number, decoded[i] as number]
        const width = (6 * sigma) / 256
        if (Math.abs(value) < 126 * width) expect(Math.abs(back - value)).toBeLessThanOrEqual(width * 1.000001)
        else expect(Math.sign(back)).toBe(Math.sign(value))
      }
    }),
    { numRuns: 40 },
  )
})

test('a chunk with NaN or infinity decodes to NaN and raises the flag', () => {
  for (const bad of [Number.NaN, Number.NEGATIVE_INFINITY]) {
    const encoded = encodePrime8(Float32Array.of(1, bad, 2))
    expect(encoded.flag).toBe(1)
    expect([...decodePrime8(encoded)]).toEqual([NaN, NaN, NaN])
  }
})

import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { keyedPermutation } from './permutation.ts'
import { sampleOrder, valSampleOrder } from './sample-order.ts'

useTestSeed()

describe('keyedPermutation', () => {
  test('visits every index exactly once, at every size', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 700 }), fc.nat(), fc.nat({ max: 1000 }), (size, seed, epoch) => {
        const permutation = keyedPermutation(size, seed, epoch)
        const seen = new Set(Array.from({ length: size }, (_, i) => permutation.forward(i)))
        expect(seen.size).toBe(size)
        for (const index of seen) expect(index >= 0 && index < size).toBe(true)
      }),
    )
  })

  test('the inverse undoes it, also at sizes far beyond what could be listed', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 32 - 1 }), fc.nat(), fc.nat(), (size, seed, position) => {
        const permutation = keyedPermutation(size, seed)
        const index = position % size
        expect(permutation.inverse(permutation.forward(index))).toBe(index)
        expect(permutation.forward(permutation.inverse(index))).toBe(index)
      }),
    )
  })

  test('another epoch or another seed is another order', () => {
    fc.assert(
      fc.property(fc.integer({ min: 50, max: 5000 }), fc.nat(), fc.nat({ max: 1000 }), (size, seed, epoch) => {
        const listed = (...keys: number[]) => {
          const permutation = keyedPermutation(size, ...keys)
          return Array.from({ length: 50 }, (_, i) => permutation.forward(i))
        }
        expect(listed(seed, epoch)).not.toEqual(listed(seed, epoch + 1))
        expect(listed(seed, epoch)).not.toEqual(listed(seed + 1, epoch))
      }),
    )
  })

  test('spreads: over many keys each position holds each index about equally often', () => {
    const size = 8
    const numKeys = 8000
    const counts = Array.from({ length: size }, () => Array.from({ length: size }, () => 0))
    for (let key = 0; key < numKeys; key++) {
      const permutation = keyedPermutation(size, key)
      for (let i = 0; i < size; i++) {
        const row = counts[i] as number[]
        const j = permutation.forward(i)
        row[j] = (row[j] as number) + 1
      }
    }
    // Binomial with mean 1000 and deviation 29.6: five deviations on each side, for fixed keys.
    for (const count of counts.flat()) expect(Math.abs(count - numKeys / size)).toBeLessThan(150)
  })
})

describe('sampleOrder', () => {
  test('each epoch trains every sample once, and a number is found again from its place', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.nat(), fc.nat({ max: 5 }), (numSamples, seed, epoch) => {
        const order = sampleOrder(seed, numSamples)
        const places = Array.from({ length: numSamples }, (_, i) => order.placeOf(epoch * numSamples + i))
        expect(new Set(places.map(place => place.index)).size).toBe(numSamples)
        places.forEach((place, i) => {
          expect(place.epoch).toBe(epoch)
          expect(order.numberOf(place)).toBe(epoch * numSamples + i)
        })
      }),
    )
  })

  test('is a function of its keys alone: these numbers never change', () => {
    const order = sampleOrder(1, 1000)
    expect([0, 1, 2, 999, 1000, 1001].map(n => order.placeOf(n).index)).toEqual([427, 153, 996, 782, 116, 893])
    expect([999, 1000].map(n => order.placeOf(n).epoch)).toEqual([0, 1])
    expect([0, 1, 2].map(n => valSampleOrder(1000).forward(n))).toEqual([245, 683, 772])
  })
})

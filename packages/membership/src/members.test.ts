import fc from 'fast-check'
import { useTestSeed } from '@skein/testkit'
import { expect, test } from 'vitest'
import { compareWorkerIds, listNames } from './members.ts'

useTestSeed()

test('numbers in worker names count as numbers', () => {
  expect(['w10', 'w9', 'w1', 'a', 'w'].toSorted(compareWorkerIds)).toEqual(['a', 'w', 'w1', 'w9', 'w10'])
})

test('the order of ranks is total: it does not depend on the order of arrival', () => {
  const name = fc.stringMatching(/^[a-c0-2-]{1,6}$/)
  fc.assert(
    fc.property(fc.uniqueArray(name, { maxLength: 8 }), fc.nat(), (names, turn) => {
      const rotated = [...names.slice(turn % (names.length + 1)), ...names.slice(0, turn % (names.length + 1))]
      expect(rotated.toSorted(compareWorkerIds)).toEqual(names.toReversed().toSorted(compareWorkerIds))
    }),
  )
})

test('long lists of names are cut and say how many are left out', () => {
  expect(listNames(['a', 'b'])).toBe('a, b')
  expect(listNames(['a', 'b', 'c'], 2)).toBe('a, b and 1 more')
})

import { expect, test } from 'vitest'
import { combinedDigest } from './combined-digest.ts'

const [a, b] = ['0123456789abcdef', 'fedcba9876543210'] as const

test('the digest of one part is that of the whole', () => {
  expect(combinedDigest([a])).toBe(a)
})

test('that of several is another one, by their order and their number', () => {
  const digests = [
    [a, b],
    [b, a],
    [a, a],
    [a, a, a],
    [a, b, b],
  ].map(combinedDigest)
  expect(new Set([a, b, ...digests]).size).toBe(digests.length + 2)
  for (const digest of digests) expect(digest).toMatch(/^[0-9a-f]{16}$/)
})

test('it is the same on every machine and in every version', () => {
  expect(combinedDigest([a, b])).toBe('8cbddfeec1934159')
})

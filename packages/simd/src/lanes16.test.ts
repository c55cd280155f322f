import { lanes16 } from '@skein/core'
import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatHash } from './format-hash.ts'

useTestSeed()

/** The vectors of the README. */
const vectors: readonly (readonly [string, Uint8Array, number, string])[] = [
  ['nothing', new Uint8Array(0), 0, '9e4ca8a53089437e'],
  ['one zero byte', new Uint8Array(1), 0, '524774bdeae6c3da'],
  ['"skein"', new TextEncoder().encode('skein'), 0, '993e921fd7fcb7c0'],
  ['"skein", seed 1', new TextEncoder().encode('skein'), 1, '96a80d176febc340'],
  ['0..63', Uint8Array.from({ length: 64 }, (_, i) => i), 0, 'e00c31398af18dc8'],
  ['0..255', Uint8Array.from({ length: 256 }, (_, i) => i), 0, '2a99863ccf61a180'],
  ['0..99', Uint8Array.from({ length: 100 }, (_, i) => i), 0, '08a9224b46a5c8c0'],
]

test.each(vectors)('the hash of %s is as documented', (_, bytes, seed, expected) => {
  expect(formatHash(lanes16(bytes, seed))).toBe(expected)
})

test('one changed bit changes both halves, and trailing zeros count', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), fc.nat(), fc.nat(7), (bytes, where, bit) => {
      const before = lanes16(bytes)
      const changed = bytes.slice()
      const at = where % bytes.length
      changed[at] = (changed[at] ?? 0) ^ (1 << bit)
      const after = lanes16(changed)
      expect(after.lo).not.toBe(before.lo)
      expect(formatHash(lanes16(Uint8Array.from([...bytes, 0])))).not.toBe(formatHash(before))
    }),
  )
})

test('halves of 20,000 counters spread evenly over 256 cells', () => {
  // Chi-squared with 255 degrees of freedom: mean 255, deviation 22.6; five deviations is 368. The inputs are fixed, so is the result.
  for (const pick of ['lo', 'hi'] as const) {
    for (const shift of [0, 12, 24]) {
      const cells = new Float64Array(256)
      for (let i = 0; i < 20_000; i++) {
        const cell = (lanes16(new Uint8Array(new Uint32Array([i]).buffer))[pick] >>> shift) & 255
        cells[cell] = (cells[cell] ?? 0) + 1
      }
      const expected = 20_000 / 256
      expect(cells.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)).toBeLessThan(368)
    }
  }
})

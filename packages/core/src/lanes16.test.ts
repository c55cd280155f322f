import { expect, test } from 'vitest'
import { lanes16 } from './lanes16.ts'

const counting = (length: number) => Uint8Array.from({ length }, (_, i) => i)
const vectors: readonly (readonly [string, Uint8Array, number, number, number])[] = [
  ['nothing', new Uint8Array(0), 0, 0x9e4ca8a5, 0x3089437e],
  ['one zero byte', new Uint8Array(1), 0, 0x524774bd, 0xeae6c3da],
  ['"skein"', new TextEncoder().encode('skein'), 0, 0x993e921f, 0xd7fcb7c0],
  ['"skein", seed 1', new TextEncoder().encode('skein'), 1, 0x96a80d17, 0x6febc340],
  ['0..63', counting(64), 0, 0xe00c3139, 0x8af18dc8],
  ['0..99', counting(100), 0, 0x08a9224b, 0x46a5c8c0],
  ['0..255', counting(256), 0, 0x2a99863c, 0xcf61a180],
]

test.each(vectors)('the hash of %s is the vector of @skein/simd', (_, bytes, seed, hi, lo) => {
  expect(lanes16(bytes, seed)).toEqual({ lo, hi })
})

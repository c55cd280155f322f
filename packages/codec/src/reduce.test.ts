import { seededRandom } from '@skein/core'
import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createCodecKernels } from './codec-kernels.ts'
import { floats, memory, plainBits, put, shots, take } from './kernels.test.support.ts'
import type { ReduceDType, ReduceOp } from './reduce.ts'
import { type ElementArrays, reduceTwin, scaleElementsTwin } from './twins-reduce.ts'

useTestSeed()

const kernels = createCodecKernels(memory)
const ops: readonly ReduceOp[] = ['sum', 'min', 'max']
type Elements = ElementArrays[ReduceDType]

/** n elements of any value: infinities, subnormals and NaN included. */
function anyElements(dtype: ReduceDType, n: number, kind: Parameters<typeof floats>[1], ...keys: number[]): Elements {
  if (dtype === 'float32') return floats(n, kind, ...keys)
  const random = seededRandom(n, ...keys)
  const words = Uint32Array.from({ length: n }, () => random.nextUint32())
  return dtype === 'int32' ? new Int32Array(words.buffer) : Uint16Array.from(words, word => word >>> 16)
}

/** As numbers to compare: bits, with the NaNs of float32 made alike. */
const bitsOf = (x: Elements) => (x instanceof Float32Array ? plainBits(x) : x)
const takeLike = <T extends Elements>(at: number, like: T): T =>
  new (like.constructor as new (buffer: ArrayBuffer) => T)(take(at, like.byteLength)?.buffer ?? new ArrayBuffer(0))

describe.each(['float32', 'int32', 'float16', 'bfloat16'] as const)('%s', dtype => {
  test.each(ops)('%s: kernel and twin give the same bits, and touch nothing else', op => {
    fc.assert(
      fc.property(shots, ({ n, kind, seed, leads }) => {
        const [a, b] = [anyElements(dtype, n, kind, seed), anyElements(dtype, n, kind, seed, 1)]
        const [dst, src] = [put(0, leads[0], a), put(1, leads[1], b)]
        kernels.reduce(op, dtype, dst, src, n)
        reduceTwin(op, dtype, a, b)
        expect(bitsOf(takeLike(dst, a))).toEqual(bitsOf(a))
        expect(bitsOf(takeLike(src, b))).toEqual(bitsOf(b))
      }),
      { numRuns: 60 },
    )
  })

  test('sum at every size from 0 to 1030', () => {
    const wholes = [anyElements(dtype, 1030, 'normal', 1), anyElements(dtype, 1030, 'normal', 2)] as const
    for (let n = 0; n <= 1030; n++) {
      const [a, b] = [wholes[0].slice(0, n), wholes[1].slice(0, n)]
      const [dst, src] = [put(0, 0, a), put(1, 0, b)]
      kernels.reduce('sum', dtype, dst, src, n)
      reduceTwin('sum', dtype, a, b)
      expect({ n, sum: bitsOf(takeLike(dst, a)) }).toEqual({ n, sum: bitsOf(a) })
    }
  })

  if (dtype === 'int32') return
  test('scale: kernel and twin give the same bits', () => {
    fc.assert(
      fc.property(shots, fc.constantFrom(1, 0.5, 1 / 3, 1 / 7, 0), ({ n, kind, seed, leads }, factor) => {
        const x = anyElements(dtype, n, kind, seed) as ElementArrays[typeof dtype]
        const at = put(0, leads[0], x)
        kernels.scale(dtype, at, n, factor)
        scaleElementsTwin(dtype, x, factor)
        expect(bitsOf(takeLike(at, x))).toEqual(bitsOf(x))
      }),
      { numRuns: 60 },
    )
  })
})

test('NaN wins over everything in min and max, and -0 is below +0', () => {
  const a = Float32Array.of(NaN, 1, -0, 0, -Infinity, NaN)
  const b = Float32Array.of(1, NaN, 0, -0, NaN, Infinity)
  for (const [op, zeros] of [
    ['min', [-0, -0]],
    ['max', [0, 0]],
  ] as const) {
    const at = put(0, 0, a)
    kernels.reduce(op, 'float32', at, put(1, 0, b), 6)
    expect([...takeLike(at, a)]).toEqual([NaN, NaN, ...zeros, NaN, NaN])
  }
})

test('int32 sums wrap, 16-bit sums are the nearest value to the exact sum', () => {
  const ints = Int32Array.of(0x7fffffff, -0x80000000, 5)
  const at = put(0, 0, ints)
  kernels.reduce('sum', 'int32', at, put(1, 0, Int32Array.of(1, -1, 6)), 3)
  expect([...takeLike(at, ints)]).toEqual([-0x80000000, 0x7fffffff, 11])
  // float16: 2048 + 1 is a tie and goes to 2048, 2050 + 1 to 2052, 65504 + 16 to infinity; 1 + 2^-11 is a tie and stays 1.
  const halves = Uint16Array.of(0x6800, 0x6801, 0x7bff, 0x3c00)
  const here = put(0, 0, halves)
  kernels.reduce('sum', 'float16', here, put(1, 0, Uint16Array.of(0x3c00, 0x3c00, 0x4c00, 0x1000)), 4)
  expect([...takeLike(here, halves)]).toEqual([0x6800, 0x6802, 0x7c00, 0x3c00])
})

test('a range outside the memory is refused', () => {
  const end = memory.buffer.byteLength
  const refused = expect.objectContaining({ code: 'SKEIN_SIMD_RANGE' })
  expect(() => kernels.reduce('sum', 'int32', end - 8, 0, 3)).toThrow(refused)
  expect(() => kernels.reduce('sum', 'float16', 64, end - 4, 3)).toThrow(refused)
  expect(() => kernels.scale('bfloat16', end - 4, 3, 1)).toThrow(refused)
})

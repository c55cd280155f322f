import { seededRandom } from '@skein/core'
import { createSharedMemory, createSimd } from '@skein/simd'
import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fromBf16, fromF16, toBf16, toF16 } from './half-twins.ts'

useTestSeed()

const memory = createSharedMemory(1 << 16)
const simd = createSimd(memory)
const [a, b] = [4096, 20_000]
const sameNumber = (x: number, y: number) => Object.is(x, y) || (Number.isNaN(x) && Number.isNaN(y))

/** One element of each type as a number, and back into its type. */
const types = {
  float32: { array: Float32Array, read: (x: number) => x, write: Math.fround },
  int32: { array: Int32Array, read: (x: number) => x, write: (x: number) => x | 0 },
  float16: { array: Uint16Array, read: fromF16, write: toF16 },
  bfloat16: { array: Uint16Array, read: fromBf16, write: toBf16 },
} as const
const combine = {
  sum: (x: number, y: number) => x + y,
  // As torch and IEEE 754-2019 minimum: NaN wins, and -0 is less than 0.
  min: Math.min,
  max: Math.max,
} as const

test('reductions of every type give the bits of plain arithmetic', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...(Object.keys(types) as (keyof typeof types)[])),
      fc.constantFrom('sum', 'min', 'max'),
      fc.nat(70),
      fc.nat(),
      (dtype, op, n, seed) => {
        const { array, read, write } = types[dtype]
        const random = seededRandom(seed)
        const draw = () => {
          const kind = random.nextInt(dtype === 'int32' ? 12 : 14)
          if (kind === 12) return write(Number.NaN)
          if (kind === 13) return write(Number.NEGATIVE_INFINITY)
          return write(Math.trunc(random.nextNormal() * 1e6) / (dtype === 'int32' ? 1 : 2 ** random.nextInt(30)))
        }
        const at = (byteOffset: number) => new array(memory.buffer as unknown as ArrayBuffer, byteOffset, n)
        const [x, y] = [at(a), at(b)]
        for (let i = 0; i < n; i++) [x[i], y[i]] = [draw(), draw()]
        const wanted = Array.from(x, (value, i) => write(combine[op](read(value), read(y[i] as number))))
        simd.reduce(op, dtype, a, b, n)
        for (let i = 0; i < n; i++) {
          expect({ i, same: sameNumber(read(x[i] as number), read(wanted[i] as number)) }).toEqual({ i, same: true })
        }
      },
    ),
    { numRuns: 300 },
  )
})

test('scaling 16-bit floats rounds once', () => {
  for (const dtype of ['float16', 'bfloat16'] as const) {
    const { read, write } = types[dtype]
    const x = new Uint16Array(memory.buffer, a, 37)
    const before = Array.from(x.keys(), i => write(i * 1.7 - 20))
    x.set(before)
    simd.scaleAs(dtype, a, x.length, 1 / 3)
    expect([...x]).toEqual(before.map(value => write(Math.fround(read(value) * Math.fround(1 / 3)))))
  }
})

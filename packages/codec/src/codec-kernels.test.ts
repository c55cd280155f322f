import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { codecs } from './codec.ts'
import { createCodecKernels } from './codec-kernels.ts'
import { floats, kinds, memory, plainBits, put, shots, take } from './kernels.test.support.ts'
import { codecTwin } from './twins.ts'

useTestSeed()

const kernels = createCodecKernels(memory)
/** float32 elements at `at`, NaNs made alike; undefined if something beside them was written. */
const takeBits = (at: number, n: number) => {
  const bytes = take(at, n * 4)
  return bytes === undefined ? undefined : plainBits(new Float32Array(bytes.buffer))
}

describe.each(codecs.map(codec => codec.name))(
  '%s: kernel and twin give the same bits, and touch nothing else',
  name => {
    const kernel = kernels.codec(name)
    const twin = codecTwin(name)
    const { codec } = kernel

    function encodeBoth(x: Float32Array, leads: readonly [number, number, number], withResidual: boolean) {
      const n = x.length
      const encoded = new Uint8Array(codec.encodedBytes(n)).fill(0x77)
      const residual = new Float32Array(n).fill(7)
      const [dst, src, rest] = [put(0, leads[0], encoded), put(1, leads[1], x), put(2, leads[2], residual)] as const
      const flag = withResidual ? kernel.encodeResidual(dst, src, rest, n) : kernel.encode(dst, src, n)
      const expected = withResidual ? twin.encode(encoded, x, residual) : twin.encode(encoded, x)
      expect(flag).toBe(expected)
      expect(take(dst, encoded.length)).toEqual(encoded)
      expect(takeBits(src, n)).toEqual(plainBits(x))
      expect(takeBits(rest, n)).toEqual(plainBits(residual))
      return { encoded, flag, dst }
    }

    test('encode, with and without residual', () => {
      fc.assert(
        fc.property(shots, fc.boolean(), ({ n, kind, seed, leads }, withResidual) => {
          encodeBoth(floats(n, kind, seed), leads, withResidual)
        }),
        { numRuns: 150 },
      )
    })

    test('encode and decode at every size from 0 to 1030', () => {
      for (let n = 0; n <= 1030; n++) {
        const x = floats(n, 'normal', n)
        const encoded = new Uint8Array(codec.encodedBytes(n))
        const [dst, src] = [put(0, 0, encoded), put(1, 0, x)]
        kernel.encode(dst, src, n)
        twin.encode(encoded, x)
        expect({ n, encoded: take(dst, encoded.length) }).toEqual({ n, encoded })
        const back = put(2, 0, new Float32Array(n))
        kernel.decode(back, dst, n)
        expect({ n, decoded: takeBits(back, n) }).toEqual({ n, decoded: plainBits(x) })
      }
    })

    test('decode and decodeAdd of what was encoded, and of any bytes', () => {
      fc.assert(
        fc.property(shots, fc.boolean(), ({ n, kind, seed, leads }, anyBytes) => {
          const encoded = anyBytes
            ? new Uint8Array(floats(codec.encodedBytes(n) / 4, 'any', seed).buffer)
            : encodeBoth(floats(n, kind, seed), leads, false).encoded
          const [plain, sum] = [new Float32Array(n), floats(n, 'normal', seed, 1)]
          const src = put(0, leads[0], encoded)
          const [to, into] = [put(1, leads[1], plain), put(2, leads[2], sum)]
          expect(kernel.decode(to, src, n)).toBe(twin.decode(plain, encoded))
          expect(kernel.decodeAdd(into, src, n)).toBe(twin.decodeAdd(sum, encoded))
          expect(takeBits(to, n)).toEqual(plainBits(plain))
          expect(takeBits(into, n)).toEqual(plainBits(sum))
          expect(take(src, encoded.length)).toEqual(encoded)
        }),
        { numRuns: 150 },
      )
    })

    test.each(kinds)('the source becomes exactly what decoding gives, on %s data', kind => {
      const n = 1003
      const x = floats(n, kind, 5)
      const original = x.slice()
      const encoded = new Uint8Array(codec.encodedBytes(n))
      const [dst, src, rest, back] = [put(0, 0, encoded), put(1, 0, x), put(2, 0, x), put(3, 0, x)] as const
      const flag = kernel.encodeResidual(dst, src, rest, n)
      expect(kernel.decode(back, dst, n)).toBe(flag)
      const decoded = takeBits(src, n)
      expect(takeBits(back, n)).toEqual(decoded)
      const values = new Float32Array(decoded?.buffer ?? new ArrayBuffer(0))
      const residual = new Float32Array(take(rest, n * 4)?.buffer ?? new ArrayBuffer(0))
      for (let i = 0; i < n; i++) {
        const difference = Math.fround((original[i] ?? 0) - (values[i] ?? 0))
        expect(residual[i]).toBe(Number.isFinite(values[i]) ? difference : 0)
      }
    })

    test('a range outside the memory is refused before anything is written', () => {
      const end = memory.buffer.byteLength
      const src = put(1, 0, floats(64, 'normal', 1))
      const before = take(src, 256)
      for (const call of [
        () => kernel.encode(end - 8, src, 64),
        () => kernel.encodeResidual(4096, src, end - 8, 64),
        () => kernel.decode(end - 8, src, 64),
        () => kernel.decodeAdd(src, -4, 64),
      ])
        expect(call).toThrow(expect.objectContaining({ code: 'SKEIN_SIMD_RANGE' }))
      expect(take(src, 256)).toEqual(before)
    })
  },
)

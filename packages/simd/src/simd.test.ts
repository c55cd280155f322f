import { lanes16, seededRandom } from '@skein/core'
import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createSharedMemory } from './shared-memory.ts'
import { createSimd } from './simd.ts'
import { adamwTwin, addTwin, hasNonFiniteTwin, scaleTwin, sumSquaresTwin } from './twins.ts'

useTestSeed()

const memory = createSharedMemory(4 << 20)
const simd = createSimd(memory)
const whole = new Uint8Array(memory.buffer)
/** Places of up to 65,536 float32 each, with room for an odd start and a guard behind. */
const place = (index: number, lead: number) => 1024 + index * 300_000 + lead * 4

const sizes = fc.oneof(fc.constantFrom(0, 1, 3, 7, 8, 15, 16, 17, 31, 257, 4099, 65_536), fc.nat(2000))
const leads = fc.nat(19)
const shots = fc.record({ n: sizes, seed: fc.nat(), leads: fc.array(leads, { minLength: 7, maxLength: 7 }) })

const guard = 0xa5
/** Puts `values` at place `index`, with guard bytes on both sides. */
function put(index: number, lead: number, values: Float32Array): number {
  const at = place(index, lead)
  whole.fill(guard, at - 64, at + values.byteLength + 64)
  new Float32Array(memory.buffer, at, values.length).set(values)
  return at
}
/** What stands there now, after checking that the guards are whole. */
function take(at: number, n: number): Float32Array {
  const around = [...whole.subarray(at - 64, at), ...whole.subarray(at + n * 4, at + n * 4 + 64)]
  expect(around.every(byte => byte === guard)).toBe(true)
  return new Float32Array(memory.buffer, at, n).slice()
}
function normals(n: number, ...keys: number[]): Float32Array<ArrayBuffer> {
  const random = seededRandom(n, ...keys)
  return Float32Array.from({ length: n }, () => random.nextNormal() * 10 ** (random.nextInt(9) - 4))
}
const bits = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length)

describe('each kernel gives the bits of its twin and touches nothing else', () => {
  test('add', () => {
    fc.assert(
      fc.property(shots, ({ n, seed, leads }) => {
        const [a, b] = [normals(n, seed, 1), normals(n, seed, 2)]
        const [pa, pb] = [put(0, leads[0] ?? 0, a), put(1, leads[1] ?? 0, b)]
        simd.add(pa, pb, n)
        addTwin(a, b)
        expect(bits(take(pa, n))).toEqual(bits(a))
        expect(bits(take(pb, n))).toEqual(bits(b))
      }),
    )
  })

  test('scale, fill and copy', () => {
    fc.assert(
      fc.property(shots, fc.float({ noNaN: true }), ({ n, seed, leads }, s) => {
        const a = normals(n, seed)
        const [pa, pb] = [put(0, leads[0] ?? 0, a), put(1, leads[1] ?? 0, normals(n, seed, 3))]
        simd.copy(pb, pa, n)
        simd.scale(pa, n, s)
        expect(bits(take(pb, n))).toEqual(bits(a))
        scaleTwin(a, s)
        expect(bits(take(pa, n))).toEqual(bits(a))
        simd.fill(pa, n, s)
        expect(bits(take(pa, n))).toEqual(bits(new Float32Array(n).fill(s)))
      }),
    )
  })

  test('sumSquares', () => {
    fc.assert(
      fc.property(shots, ({ n, seed, leads }) => {
        const a = normals(n, seed)
        expect(simd.sumSquares(put(0, leads[0] ?? 0, a), n)).toBe(sumSquaresTwin(a))
      }),
    )
  })

  test('hasNonFinite finds one bad element anywhere', () => {
    fc.assert(
      fc.property(
        shots,
        fc.nat(),
        fc.constantFrom(NaN, Infinity, -Infinity, 3.4e38, 1e-45),
        ({ n, seed, leads }, where, bad) => {
          const a = normals(n, seed)
          if (n > 0) a[where % n] = bad
          expect(simd.hasNonFinite(put(0, leads[0] ?? 0, a), n)).toBe(hasNonFiniteTwin(a))
          expect(hasNonFiniteTwin(a)).toBe(n > 0 && !Number.isFinite(bad))
        },
      ),
    )
  })

  test('hash, for any number of bytes, seed and start', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.integer(), fc.nat(63), (bytes, seed, lead) => {
        whole.set(bytes, 2000 + lead)
        const hash = simd.hash(2000 + lead, bytes.length, seed)
        expect(hash).toEqual(lanes16(bytes, seed))
        expect(simd.checksum(2000 + lead, bytes.length, seed)).toBe(hash.lo)
      }),
    )
  })

  test('adamw, out of place and in place', () => {
    fc.assert(
      fc.property(
        shots,
        fc.record({
          lr: fc.constantFrom(0, 3e-4, 0.1),
          weightDecay: fc.constantFrom(0, 0.1),
          gradScale: fc.constantFrom(1, 1 / 3),
          step: fc.constantFrom(1, 2, 1000),
        }),
        ({ n, seed, leads }, chosen) => {
          const options = { ...chosen, beta1: 0.9, beta2: 0.95, eps: 1e-8 }
          const [p, m, g] = [normals(n, seed, 1), normals(n, seed, 2), normals(n, seed, 3)]
          const v = normals(n, seed, 4).map(Math.abs)
          const inputs = [p, m, v, g].map((x, i) => put(i, leads[i] ?? 0, x)) as [number, number, number, number]
          const outputs = [4, 5, 6].map(i => put(i, leads[i] ?? 0, new Float32Array(n))) as [number, number, number]
          const pointers = { p: inputs[0], m: inputs[1], v: inputs[2], g: inputs[3], n }
          simd.adamw({ ...pointers, pOut: outputs[0], mOut: outputs[1], vOut: outputs[2], ...options })
          expect(
            [p, m, v, g].every((x, i) => Buffer.from(x.buffer).equals(Buffer.from(take(inputs[i] ?? 0, n).buffer))),
          ).toBe(true)
          adamwTwin({ p, m, v, g }, options)
          expect(outputs.map(at => bits(take(at, n)))).toEqual([p, m, v].map(bits))
          simd.adamw({ ...pointers, pOut: inputs[0], mOut: inputs[1], vOut: inputs[2], ...options })
          expect(inputs.slice(0, 3).map(at => bits(take(at, n)))).toEqual([p, m, v].map(bits))
        },
      ),
    )
  })
})

test('adamw follows the published update within float32 rounding over 50 steps', () => {
  // Decoupled AdamW in float64 as in torch.optim.AdamW; errors grow by a few u = 2^-24 a step.
  const n = 64
  const options = { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01, gradScale: 0.5 }
  const p = normals(n, 7).map(Math.tanh)
  const at = [put(0, 0, p), put(1, 0, new Float32Array(n)), put(2, 0, new Float32Array(n))] as const
  const exact = { p: Float64Array.from(p), m: new Float64Array(n), v: new Float64Array(n) }
  for (let step = 1; step <= 50; step++) {
    const g = normals(n, step, 8).map(Math.tanh)
    const pg = put(3, 0, g)
    simd.adamw({ p: at[0], m: at[1], v: at[2], g: pg, pOut: at[0], mOut: at[1], vOut: at[2], n, step, ...options })
    for (let i = 0; i < n; i++) {
      const x = (g[i] ?? 0) * options.gradScale
      const m = (exact.m[i] ?? 0) * 0.9 + x * 0.1
      const v = (exact.v[i] ?? 0) * 0.999 + x * x * 0.001
      exact.m[i] = m
      exact.v[i] = v
      const corrected = m / (1 - 0.9 ** step) / (Math.sqrt(v / (1 - 0.999 ** step)) + 1e-8)
      exact.p[i] = (exact.p[i] ?? 0) * (1 - 1e-2 * 0.01) - 1e-2 * corrected
    }
  }
  const result = take(at[0], n)
  for (let i = 0; i < n; i++) expect(Math.abs((result[i] ?? 0) - (exact.p[i] ?? 0))).toBeLessThan(2e-6)
})

test('a range outside the memory is refused before anything is written', () => {
  const end = memory.buffer.byteLength
  expect(() => simd.add(end - 16, 0, 5)).toThrow(expect.objectContaining({ code: 'SKEIN_SIMD_RANGE' }))
  expect(() => simd.fill(-4, 1, 0)).toThrow(expect.objectContaining({ code: 'SKEIN_SIMD_RANGE' }))
  expect(() => simd.hash(end, 1)).toThrow(expect.objectContaining({ code: 'SKEIN_SIMD_RANGE' }))
  expect(simd.hash(end, 0)).toEqual(lanes16(new Uint8Array(0)))
})

test('an instance in a fresh memory leaves every byte zero', () => {
  const fresh = createSharedMemory(1 << 16)
  createSimd(fresh).hash(0, 1000)
  expect(new Uint8Array(fresh.buffer).every(byte => byte === 0)).toBe(true)
})

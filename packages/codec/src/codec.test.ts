import { seededRandom } from '@skein/core'
import { createSharedMemory, createSimd } from '@skein/simd'
import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { codecNames, codecs } from './codec.ts'
import { ErrorFeedback } from './error-feedback.ts'
import { fromF16, toF16 } from './half-twins.ts'
import { decodeTwin, encodeTwin } from './twins.ts'

useTestSeed()

const memory = createSharedMemory(1 << 20)
const simd = createSimd(memory)
const whole = new Uint8Array(memory.buffer)
const [source, encoded, residual, target] = [4096, 200_000, 300_000, 400_000]
const floats = (at: number, n: number) => new Float32Array(memory.buffer, at, n)
const bits = (x: Float32Array) => [...new Uint32Array(x.slice().buffer)]
/** Bits, all NaN alike. */
const bitsOf = (x: Float32Array) => bits(x).map((word, i) => (Number.isNaN(x[i]) ? 'NaN' : word))

/** Normal values of many magnitudes, with zeros, denormals and, if wanted, what is not finite. */
function values(n: number, seed: number, wild = false): Float32Array {
  const random = seededRandom(seed, n)
  return Float32Array.from({ length: n }, () => {
    const kind = random.nextInt(wild ? 40 : 20)
    if (kind === 0) return 0
    if (kind === 1) return random.nextNormal() * 1e-42
    if (kind === 21) return Number.NaN
    if (kind === 22) return Number.NEGATIVE_INFINITY
    if (kind === 23) return 3e38
    return random.nextNormal() * 10 ** (random.nextInt(9) - 4)
  })
}
const shots = fc.record({
  n: fc.oneof(fc.nat(1030), fc.constantFrom(0, 1, 3, 63, 64, 65, 255, 256, 257, 4096)),
  seed: fc.nat(),
  wild: fc.boolean(),
})

describe.each(codecNames)('%s', name => {
  const { encodedBytes, blockElems, maxError } = codecs[name]

  test('kernel and twin give the same bytes, values, residual and flag, and touch nothing else', () => {
    fc.assert(
      fc.property(shots, ({ n, seed, wild }) => {
        const x = values(n, seed, wild)
        const twin = encodeTwin(name, x)
        const bytes = encodedBytes(n)
        whole.fill(0xa5, encoded - 64, encoded + bytes + 64)
        for (const at of [source, residual, target]) {
          whole.fill(0xa5, at - 64, at + n * 4 + 64)
        }
        floats(source, n).set(x)
        expect(simd.encode(name, encoded, source, residual, n)).toBe(twin.nonfinite)
        const got = whole.slice(encoded, encoded + bytes)
        if (!twin.nonfinite) expect(got).toEqual(twin.bytes)
        expect(bitsOf(floats(source, n))).toEqual(bitsOf(twin.decoded))
        if (!twin.nonfinite) {
          const lost = x.map((value, i) => value - (twin.decoded[i] as number))
          expect(bitsOf(floats(residual, n))).toEqual(bitsOf(lost))
        }
        expect(simd.decode(name, target, encoded, n, false)).toBe(twin.nonfinite)
        expect(bitsOf(floats(target, n))).toEqual(bitsOf(decodeTwin(name, got, n)))
        expect(bitsOf(floats(target, n))).toEqual(bitsOf(twin.decoded))
        floats(target, n).fill(1)
        simd.decode(name, target, encoded, n, true)
        expect(bitsOf(floats(target, n))).toEqual(bitsOf(twin.decoded.map(value => Math.fround(1 + value))))
        for (const [at, size] of [
          [source, n * 4],
          [encoded, bytes],
          [residual, n * 4],
          [target, n * 4],
        ] as const) {
          const around = [...whole.subarray(at - 64, at), ...whole.subarray(at + size, at + size + 64)]
          expect(around.every(byte => byte === 0xa5)).toBe(true)
        }
      }),
      { numRuns: 200 },
    )
  })

  test('a range that begins at a block is a piece of the encoded form', () => {
    fc.assert(
      fc.property(fc.nat(6), fc.nat(500), fc.nat(), (blocks, rest, seed) => {
        const from = blocks * blockElems
        const x = values(from + rest, seed)
        const { bytes } = encodeTwin(name, x)
        expect(bytes.subarray(encodedBytes(from))).toEqual(encodeTwin(name, x.subarray(from)).bytes)
      }),
    )
  })

  test('the error is within the bound, zero stays zero', () => {
    fc.assert(
      fc.property(fc.nat(600), fc.nat(), (n, seed) => {
        const random = seededRandom(seed)
        const x = Float32Array.from({ length: n }, () => random.nextNormal())
        const { decoded } = encodeTwin(name, x)
        for (const [i, value] of x.entries()) {
          const start = i - (i % blockElems)
          const block = x.subarray(start, start + blockElems)
          const largest = name.startsWith('int')
            ? block.reduce((most, y) => Math.max(most, Math.abs(y)), 0)
            : Math.abs(value)
          // Below float16's normal range the step no longer shrinks with the value.
          expect(Math.abs(value - (decoded[i] as number))).toBeLessThanOrEqual(largest * maxError + 2 ** -25)
        }
        expect(encodeTwin(name, new Float32Array(n)).decoded.every(value => value === 0)).toBe(true)
      }),
    )
  })
})

test('float16: every value is its own rounding, and halfway goes to even', () => {
  for (let half = 0; half < 0x7c00; half++) {
    const x = fromF16(half)
    expect(toF16(x)).toBe(half)
    const next = fromF16(half + 1)
    if (Number.isFinite(next)) expect(toF16((x + next) / 2)).toBe(half % 2 === 0 ? half : half + 1)
  }
  floats(source, 4).set([65_519.99, 65_520, -1e-8, 6e-8])
  simd.encode('fp16', encoded, source, 0, 4)
  expect([...floats(source, 4)]).toEqual([65_504, Number.POSITIVE_INFINITY, -0, 2 ** -24])
})

test('with error feedback the mean over many rounds is the value itself', () => {
  const n = 64
  const random = seededRandom(7)
  const wanted = Float32Array.from({ length: n }, () => random.nextNormal())
  const feedback = new ErrorFeedback(new Float32Array(n), new Float32Array(n))
  const sum = new Float64Array(n)
  const rounds = 400
  for (let round = 0; round < rounds; round++) {
    const x = wanted.slice()
    feedback.add(x)
    const { decoded } = encodeTwin('int4', x)
    for (let i = 0; i < n; i++) {
      feedback.next[i] = (x[i] as number) - (decoded[i] as number)
      sum[i] = (sum[i] as number) + (decoded[i] as number)
    }
    if (round % 10 === 9) {
      // A round that fails: what it lost is forgotten, and it is not counted.
      for (let i = 0; i < n; i++) sum[i] = (sum[i] as number) - (decoded[i] as number)
    } else feedback.accept()
  }
  const counted = rounds * 0.9
  // The sum differs from that of the values by the last residual alone: half a step of a block.
  for (let i = 0; i < n; i++)
    expect(Math.abs((sum[i] as number) / counted - (wanted[i] as number))).toBeLessThan(1 / counted)
})

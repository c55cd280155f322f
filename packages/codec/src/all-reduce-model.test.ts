import { seededRandom } from '@skein/core'
import { relativeL2, useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { allToAllAllReduceModel, chunkRange, ringAllReduceModel, roundTripOf } from './all-reduce-model.ts'
import { codecOf } from './codec.ts'

useTestSeed()

type Draw = (random: ReturnType<typeof seededRandom>) => number
const gaussian: Draw = random => random.nextNormal()
/** Student's t with three degrees of freedom: gradients with heavy tails. */
const student3: Draw = random => {
  const chi2 = random.nextNormal() ** 2 + random.nextNormal() ** 2 + random.nextNormal() ** 2
  return random.nextNormal() / Math.sqrt(chi2 / 3)
}
const inputsOf = (ranks: number, elems: number, draw: Draw, seed: number) =>
  Array.from({ length: ranks }, (_, rank) => {
    const random = seededRandom(seed, rank)
    return Float32Array.from({ length: elems }, () => draw(random))
  })
function exactSum(inputs: readonly Float32Array[]): Float64Array {
  const sum = new Float64Array(inputs[0]?.length ?? 0)
  for (const input of inputs) for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (input[i] as number)
  return sum
}

const models = { ring: ringAllReduceModel, 'all-to-all': allToAllAllReduceModel } as const
type Shape = keyof typeof models

/** Relative RMS error in per cent. */
const percentOf = (shape: Shape, name: Parameters<typeof roundTripOf>[0], inputs: readonly Float32Array[]) =>
  100 * relativeL2(models[shape](inputs, roundTripOf(name)), exactSum(inputs))

describe('relative RMS error of a sum of Gaussians, per cent, as measured elsewhere, within a tenth', () => {
  // Rounding alone, step δσ with δ = 2.84/127: ring δ/√12 · √((N+1)/2), all-to-all δ/√12 · √2; block int8 is 8 to 9 % above.
  test.each([
    ['ring', 'int8', 8, 1.5],
    ['ring', 'int8', 32, 2.8],
    ['all-to-all', 'int8', 8, 0.98],
    ['all-to-all', 'int8', 32, 0.99],
    ['ring', 'prime8', 8, 3.0],
    ['ring', 'prime8', 32, 4.4],
  ] as const)('%s, %s, %i ranks: %f', (shape, name, ranks, published) => {
    // PRIME's bins stand for the mean of what fell into them: in chunks much smaller than its own they would be too exact.
    const percent = percentOf(shape, name, inputsOf(ranks, name === 'prime8' ? 131_072 : 65_536, gaussian, 17))
    expect(percent).toBeGreaterThan(published * 0.9)
    expect(percent).toBeLessThan(published * 1.1)
  })

  test('the ring follows √((N+1)/2), the all-to-all does not grow', () => {
    const rounding = (284 / 127 / Math.sqrt(12)) * 1.085
    for (const ranks of [2, 4, 16]) {
      const inputs = inputsOf(ranks, 32_768, gaussian, 17)
      const ring = percentOf('ring', 'int8', inputs) / (rounding * Math.sqrt((ranks + 1) / 2))
      // Of the N pieces of a chunk, the owner's is not encoded.
      const allToAll = percentOf('all-to-all', 'int8', inputs) / (rounding * Math.sqrt(2 - 1 / ranks))
      expect(Math.abs(ring - 1)).toBeLessThan(0.1)
      expect(Math.abs(allToAll - 1)).toBeLessThan(0.1)
    }
  })
})

describe('heavy tails (Student-3), 8 ranks', () => {
  const inputs = inputsOf(8, 65_536, student3, 17)

  test('block int8 stays within 2 to 5 %, clipping at 3σ costs PRIME ten times as much', () => {
    for (const shape of ['ring', 'all-to-all'] as const) {
      const percent = percentOf(shape, 'int8', inputs)
      expect(percent).toBeGreaterThan(1)
      expect(percent).toBeLessThan(5)
    }
    const clipped = percentOf('ring', 'prime8', inputs)
    expect(clipped).toBeGreaterThan(20)
    expect(clipped).toBeLessThan(45)
  })

  test('and single errors of PRIME are tens of times the RMS of the sum', () => {
    const exact = exactSum(inputs)
    const rms = Math.sqrt(exact.reduce((sum, x) => sum + x * x, 0) / exact.length)
    const worst = (name: 'int8' | 'prime8') =>
      ringAllReduceModel(inputs, roundTripOf(name)).reduce(
        (max, x, i) => Math.max(max, Math.abs(x - (exact[i] ?? 0))),
        0,
      )
    expect(worst('prime8') / rms).toBeGreaterThan(10)
    expect(worst('int8') / rms).toBeLessThan(3)
  })
})

describe.each([
  ['int8', 127],
  ['int4', 7],
] as const)('%s: no error is beyond the hard bound', (name, levels) => {
  const { blockElems } = codecOf(name)
  const half = 1 / (2 * levels)
  const bounds: Readonly<Record<Shape, (ranks: number) => number>> = {
    'all-to-all': ranks => ranks * (2 + half) * half,
    ring: ranks => {
      let sum = 0
      for (let k = 1; k <= ranks; k++) sum += k * (1 + half) ** k * half
      return sum
    },
  }

  test.each(['ring', 'all-to-all'] as const)('%s', shape => {
    const draws: readonly Draw[] = [
      gaussian,
      student3,
      random => (random.nextInt(20) === 0 ? 1000 : 1) * (random.nextFloat() - 0.5),
      random => (random.nextInt(2 * levels + 1) - levels + 0.5) / levels,
    ]
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 16 }),
        fc.oneof(fc.constantFrom(0, 1, 257), fc.nat(3000)),
        fc.nat(),
        fc.constantFrom(...draws),
        (ranks, elems, seed, draw) => {
          const inputs = inputsOf(ranks, elems, draw, seed)
          const exact = exactSum(inputs)
          const result = models[shape](inputs, roundTripOf(name))
          for (let chunk = 0; chunk < ranks; chunk++) {
            const [from, to] = chunkRange(elems, ranks, chunk)
            for (let at = from; at < to; at += blockElems) {
              const block = [at, Math.min(at + blockElems, to)] as const
              const absmax = Math.max(...inputs.map(input => Math.max(...input.subarray(...block).map(Math.abs))))
              // float32: x / scale is off by 3u · levels of a code at most, each of N sums by u = 2^-24 of ranks · absmax.
              const bound = absmax * (bounds[shape](ranks) * (1 + 2 ** -12) + ranks * ranks * 2 ** -23)
              for (let i = block[0]; i < block[1]; i++)
                expect(Math.abs((result[i] as number) - (exact[i] as number))).toBeLessThanOrEqual(bound)
            }
          }
        },
      ),
      { numRuns: 25 },
    )
  })
})

test.each(['int8', 'int4', 'fp16', 'bf16', 'prime8'] as const)('%s: a NaN of one rank is in the sum of all', name => {
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const inputs = inputsOf(4, 1000, gaussian, 3)
    ;(inputs[2] as Float32Array)[700] = bad
    for (const model of Object.values(models)) {
      const sum = model(inputs, roundTripOf(name))
      expect(Number.isFinite(sum[700])).toBe(false)
      expect(Number.isFinite(sum[10])).toBe(true)
    }
  }
})

test('one rank is left as it is', () => {
  const input = Float32Array.of(1, 0.1, 3)
  for (const model of Object.values(models)) expect(model([input], roundTripOf('int4'))).toEqual(input)
})

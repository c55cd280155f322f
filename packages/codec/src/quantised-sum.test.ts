import { seededRandom } from '@skein/core'
import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeTable, encodeTable } from './prime8.ts'
import { encodeTwin } from './twins.ts'

useTestSeed()

type Round = (values: Float32Array) => Float32Array
const int8: Round = values => encodeTwin('int8', values).decoded
const table: Round = values => decodeTable(encodeTable(values))

const add = (a: Float32Array, b: Float32Array) => a.map((x, i) => x + (b[i] as number))

/** What a ring all-reduce makes of one chunk: rounded at every hop, and once more by its owner. */
function ringSum(inputs: readonly Float32Array[], round: Round): Float32Array {
  const [first, ...rest] = inputs as [Float32Array, ...Float32Array[]]
  return round(rest.reduce((sum, input) => add(round(sum), input), first))
}

/** What an all-to-all shaped one makes: every input rounded once, the sum once. The owner's own input is not. */
function directSum(inputs: readonly Float32Array[], round: Round): Float32Array {
  const [own, ...others] = inputs as [Float32Array, ...Float32Array[]]
  return round(others.reduce((sum, input) => add(sum, round(input)), own))
}

/** Root mean square of the error, as a share of that of the sum. */
function relativeError(actual: Float32Array, inputs: readonly Float32Array[]): number {
  let [error, size] = [0, 0]
  for (const [i, value] of actual.entries()) {
    let exact = 0
    for (const input of inputs) exact += input[i] as number
    error += (value - exact) ** 2
    size += exact ** 2
  }
  return Math.sqrt(error / size)
}

const gaussians = (ranks: number, n: number, seed: number) =>
  Array.from({ length: ranks }, (_, rank) => {
    const random = seededRandom(seed, rank)
    return Float32Array.from({ length: n }, () => random.nextNormal())
  })

describe('relative error of a quantised sum of Gaussians', () => {
  // Figures of the design's reference, section 2, measured there for independent Gaussians.
  test.each([
    ['block ring', 8, ringSum, int8, 0.015],
    ['block ring', 32, ringSum, int8, 0.028],
    ['block all-to-all', 8, directSum, int8, 0.0098],
    ['block all-to-all', 32, directSum, int8, 0.0099],
    ["PRIME's table, ring", 8, ringSum, table, 0.03],
    ["PRIME's table, ring", 32, ringSum, table, 0.044],
  ] as const)('%s among %i ranks', (_, ranks, sum, round, expected) => {
    const inputs = gaussians(ranks, 8192, 11)
    const is = relativeError(sum(inputs, round), inputs)
    // The table's error depends on the length of the chunk, for which the reference gives none.
    expect(is / expected).toBeGreaterThan(round === table ? 0.7 : 0.85)
    expect(is / expected).toBeLessThan(1.15)
  })

  test('on heavy tails blocks keep what a table of ±3σ clips', () => {
    const random = seededRandom(3)
    const student = () =>
      random.nextNormal() /
      Math.sqrt((random.nextNormal() ** 2 + random.nextNormal() ** 2 + random.nextNormal() ** 2) / 3)
    const inputs = Array.from({ length: 8 }, () => Float32Array.from({ length: 8192 }, student))
    const [blocks, clipped] = [
      relativeError(directSum(inputs, int8), inputs),
      relativeError(ringSum(inputs, table), inputs),
    ]
    expect(blocks).toBeLessThan(0.05)
    expect(clipped).toBeGreaterThan(2 * blocks)
  })
})

test('the error stays within its hard bound', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 9 }), fc.nat(), (ranks, seed) => {
      const inputs = gaussians(ranks, 256, seed)
      const largest = Math.max(...inputs.flatMap(input => [...input].map(Math.abs)))
      const worst = (actual: Float32Array) =>
        Math.max(
          ...[...actual].map((value, i) =>
            Math.abs(value - inputs.reduce((sum, input) => sum + (input[i] as number), 0)),
          ),
        )
      // Each rounding loses at most half a step of what it rounds, which the roundings before have made larger by as much.
      let ring = 0
      for (let k = 1; k <= ranks; k++) ring += (k * largest * (1 + 1 / 254) ** k) / 254
      expect(worst(ringSum(inputs, int8))).toBeLessThanOrEqual(ring * 1.0001)
      expect(worst(directSum(inputs, int8))).toBeLessThanOrEqual(
        (ranks * largest * (2 + 1 / 254)) / 254 + 1e-5 * largest,
      )
    }),
  )
})

test("PRIME's table knows chunks without spread", () => {
  for (const values of [new Float32Array(5), Float32Array.of(3), new Float32Array(0), Float32Array.of(2, 2, 2)]) {
    const decoded = decodeTable(encodeTable(values))
    for (const [i, value] of values.entries()) expect(decoded[i]).toBeCloseTo(value, 5)
  }
})

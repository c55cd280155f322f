import type { Flag } from './codec-twin.ts'
import { roundHalfEven } from './round-half-even.ts'

/** A chunk as PRIME sends it: a bin for each element, and what each bin means. 1 KiB + 1 B an element. */
export interface Prime8 {
  /** Bin of each element, [n]. */
  readonly codes: Uint8Array
  /** Mean of the elements in each bin, 0 for an empty one, [256]. */
  readonly table: Float32Array
  readonly flag: Flag
}

/**
 * The int8 of PRIME (INTELLECT-1), to compare with: 256 bins over ±3σ, each standing for the mean of what fell into it.
 * σ² = Σx² / (n-1), the mean not removed; bin = round(x / (6σ/256)) + 128, what lies beyond ±3σ in the outermost bins.
 *
 * Where we differ: all zeros, and a single element, have no σ there and divide by zero. Here zeros fall into one bin, and one element
 * has its own size for σ. NaN or infinity, undefined there, makes the whole chunk NaN and raises the flag.
 * @see Jaghouar et al. 2024, and hivemind's uniform 8-bit compression before it
 */
export function encodePrime8(x: Float32Array): Prime8 {
  const codes = new Uint8Array(x.length)
  const table = new Float32Array(256)
  let squares = 0
  for (const value of x) squares += value * value
  if (!Number.isFinite(squares)) return { codes, table: table.fill(Number.NaN), flag: 1 }
  const sigma = Math.sqrt(squares / Math.max(1, x.length - 1))
  const inverse = sigma === 0 ? 0 : 256 / (6 * sigma)
  const sums = new Float64Array(256)
  const counts = new Uint32Array(256)
  for (const [i, value] of x.entries()) {
    const bin = Math.min(255, Math.max(0, roundHalfEven(value * inverse) + 128))
    codes[i] = bin
    sums[bin] = (sums[bin] as number) + value
    counts[bin] = (counts[bin] as number) + 1
  }
  for (let bin = 0; bin < 256; bin++)
    if (counts[bin] !== 0) table[bin] = (sums[bin] as number) / (counts[bin] as number)
  return { codes, table, flag: 0 }
}

export function decodePrime8({ codes, table }: Prime8): Float32Array<ArrayBuffer> {
  return Float32Array.from(codes, bin => table[bin] as number)
}

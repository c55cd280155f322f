/** A chunk as PRIME sends it: one byte an element, and what each byte stands for. */
export interface TableEncoded {
  readonly codes: Uint8Array
  /** 256 means; 0 where no element has the code. */
  readonly table: Float32Array
}

/**
 * PRIME's int8, for comparison: bins of 6σ/256 over ±3σ, each standing for the mean of what fell into it. σ is taken about 0 and
 * over n-1, so values beyond ±3σ are clipped into the outer bins: heavy tails lose much. A chunk without spread (σ = 0, or one
 * element) has one code, the mean of all; the published code divides by zero there.
 * @see Jaghouar et al. 2024 (INTELLECT-1)
 */
export function encodeTable(values: Float32Array): TableEncoded {
  let squares = 0
  for (const x of values) squares += x * x
  const sigma = Math.sqrt(squares / Math.max(1, values.length - 1))
  const step = (6 * sigma) / 256
  const codes = Uint8Array.from(values, x => (step > 0 ? Math.min(255, Math.max(0, Math.round(x / step) + 128)) : 128))
  const sums = new Float64Array(256)
  const counts = new Uint32Array(256)
  for (const [i, code] of codes.entries()) {
    sums[code] = (sums[code] as number) + (values[i] as number)
    counts[code] = (counts[code] as number) + 1
  }
  const table = Float32Array.from(sums, (sum, code) => (counts[code] === 0 ? 0 : sum / (counts[code] as number)))
  return { codes, table }
}

export function decodeTable({ codes, table }: TableEncoded): Float32Array {
  return Float32Array.from(codes, code => table[code] as number)
}

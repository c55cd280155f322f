/** One measured case, as `npm run bench -- NAME --json` prints it. */
export interface BenchCase {
  readonly bench: string
  readonly case: string
  /** Unit of `ours`, `peer.value` and `floor`. */
  readonly unit: string
  /** Median of our samples. */
  readonly ours: number
  /** The rival measured in the same run, or null where there is none. */
  readonly peer: { readonly name: string; readonly value: number } | null
  /** What no implementation could beat here, or null where nothing tells. */
  readonly floor: number | null
  /** Better than 1 is better than the peer (or, without a peer, nearer to the goal): each bench says how it is formed. */
  readonly ratio: number | null
  /** Paired samples behind the medians, in `unit`. */
  readonly samples: readonly number[]
  /** Smallest and largest of the paired ratios. */
  readonly spread: readonly [number, number] | null
  /** What the issue or the recipe asked for, in words. */
  readonly goal: string
}

export interface Bench {
  readonly name: string
  readonly about: string
  run(report: (line: string) => void): Promise<readonly BenchCase[]>
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

export function range(values: readonly number[]): readonly [number, number] {
  return [Math.min(...values), Math.max(...values)]
}

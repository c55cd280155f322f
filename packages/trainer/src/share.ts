/** The contiguous part of the batch that `rank` gets when each rank takes `shares[rank]` samples: [from, to). */
export function shareOf(shares: readonly number[], rank: number): readonly [number, number] {
  const from = shares.slice(0, rank).reduce((sum, share) => sum + share, 0)
  return [from, from + (shares[rank] ?? 0)]
}

/** The numbers `from` … `to`-1, cut into runs of `size` (the last may be shorter). */
export function runsOf(from: number, to: number, size: number): number[][] {
  const runs: number[][] = []
  for (let start = from; start < to; start += size) {
    runs.push(Array.from({ length: Math.min(size, to - start) }, (_, i) => start + i))
  }
  return runs
}

/** The contiguous share of `count` things that `rank` of `worldSize` gets: [from, to), sizes differing by at most one. */
export function shareOf(count: number, rank: number, worldSize: number): readonly [number, number] {
  return [Math.floor((count * rank) / worldSize), Math.floor((count * (rank + 1)) / worldSize)]
}

/** The numbers `from` … `to`-1, cut into runs of `size` (the last may be shorter). */
export function runsOf(from: number, to: number, size: number): number[][] {
  const runs: number[][] = []
  for (let start = from; start < to; start += size) {
    runs.push(Array.from({ length: Math.min(size, to - start) }, (_, i) => start + i))
  }
  return runs
}

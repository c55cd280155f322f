/**
 * The samples of each rank, whole numbers in the order of ranks that sum up to `globalBatch`: equal ones, which differ by at most one. The
 * sum of gradients is divided by the samples of the whole step, so every sample counts the same whoever takes it.
 */
export function equalShares(globalBatch: number, worldSize: number): number[] {
  const from = (rank: number) => Math.floor((globalBatch * rank) / worldSize)
  return Array.from({ length: worldSize }, (_, rank) => from(rank + 1) - from(rank))
}

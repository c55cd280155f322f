/**
 * The samples of each rank, whole numbers in the order of ranks that sum up to `globalBatch`: equal ones, which differ by at most one. The
 * sum of gradients is divided by the samples of the whole step, so every sample counts the same whoever takes it.
 */
export function equalShares(globalBatch: number, worldSize: number): number[] {
  const from = (rank: number) => Math.floor((globalBatch * rank) / worldSize)
  return Array.from({ length: worldSize }, (_, rank) => from(rank + 1) - from(rank))
}

/**
 * Shares with which all ranks take as nearly equally long as whole samples allow: proportional to `speeds` (positive, in any unit), rounded
 * by the largest remainder (Hamilton's method), the lower rank first among equals.
 *
 * Nobody gets less than one sample while there are enough: who takes none is not measured, and would never get any again.
 */
export function sharesBySpeed(globalBatch: number, speeds: readonly number[]): number[] {
  if (globalBatch < speeds.length) return equalShares(globalBatch, speeds.length)
  const quotas = quotasOf(globalBatch, speeds)
  const shares = quotas.map(Math.floor)
  const left = globalBatch - shares.reduce((sum, share) => sum + share, 0)
  const remainder = (rank: number) => (quotas[rank] as number) - (shares[rank] as number)
  const order = [...quotas.keys()].sort((a, b) => remainder(b) - remainder(a) || a - b)
  for (const rank of order.slice(0, left)) shares[rank] = (shares[rank] as number) + 1
  return shares
}

/** Exact parts of the batch: one for each whose part would be smaller, and of the rest what is each other's by its speed. */
function quotasOf(globalBatch: number, speeds: readonly number[]): number[] {
  // Relative to the fastest, so that no sum is too large for a double.
  const fastest = Math.max(...speeds)
  const relative = speeds.map(speed => speed / fastest)
  const isSlow = speeds.map(() => false)
  for (;;) {
    const rest = globalBatch - isSlow.filter(Boolean).length
    const sum = relative.reduce((total, speed, rank) => (isSlow[rank] === true ? total : total + speed), 0)
    const quotas = relative.map((speed, rank) => (isSlow[rank] === true ? 1 : (rest * speed) / sum))
    const slower = quotas.flatMap((quota, rank) => (quota < 1 ? [rank] : []))
    if (slower.length === 0) return quotas
    for (const rank of slower) isSlow[rank] = true
  }
}

/** How long the slowest takes for its share, in samples over the unit of `speeds`: what all wait for. */
export const slowestTime = (shares: readonly number[], speeds: readonly number[]): number =>
  Math.max(...shares.map((share, rank) => share / (speeds[rank] as number)))

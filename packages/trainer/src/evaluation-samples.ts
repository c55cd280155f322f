/** The held-out samples an evaluation uses: always the first ones, in whole microbatches where there are that many. */
export function evaluationSamples(wanted: number, available: number, micro: number): number {
  const count = Math.min(wanted, available)
  return count < micro ? count : count - (count % micro)
}

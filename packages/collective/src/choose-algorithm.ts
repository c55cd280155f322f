/** All-reduce algorithms a caller may ask for. */
export type AllReduceAlgorithm = 'ring' | 'tree' | 'star'

/** Sizes at which another algorithm takes over; the same on every rank of a group. */
export interface AlgorithmLimits {
  /** Buffers of at least this many bytes go round the ring: fewest bytes per rank. */
  readonly ringFromBytes: number
  /** Below that, groups of at most this many ranks use the star (two hops), larger ones the tree. */
  readonly starUpToRanks: number
}

/** Measured on loopback between processes of one host; see the README. Later: from the measured links of the group. */
export const defaultAlgorithmLimits: AlgorithmLimits = { ringFromBytes: 64 * 1024, starUpToRanks: 8 }

export function chooseAllReduce(bytes: number, ranks: number, limits: AlgorithmLimits): AllReduceAlgorithm {
  if (ranks <= 2 || bytes >= limits.ringFromBytes) return 'ring'
  return ranks <= limits.starUpToRanks ? 'star' : 'tree'
}

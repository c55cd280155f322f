/** All-reduce algorithms a caller may ask for. */
export type AllReduceAlgorithm = 'ring' | 'tree' | 'star'

/** Sizes at which another algorithm takes over; the same on every rank of a group. */
export interface AlgorithmLimits {
  /** The ring is used when its blocks (bytes / ranks) have at least this many bytes: fewest bytes per rank, most messages. */
  readonly ringFromBlockBytes: number
  /** Below that, buffers of at most this many bytes go by the star (two hops), larger ones by the tree (2⌈lg N⌉). */
  readonly starUpToBytes: number
  /** The star's centre hears from everyone: only groups of at most this many ranks use it. */
  readonly starUpToRanks: number
}

/** Provisional: from a few runs between processes of one busy host; see the README. */
export const defaultAlgorithmLimits: AlgorithmLimits = {
  ringFromBlockBytes: 128 * 1024,
  starUpToBytes: 64 * 1024,
  starUpToRanks: 8,
}

export function chooseAllReduce(bytes: number, ranks: number, limits: AlgorithmLimits): AllReduceAlgorithm {
  if (bytes / ranks >= limits.ringFromBlockBytes) return 'ring'
  return bytes <= limits.starUpToBytes && ranks <= limits.starUpToRanks ? 'star' : 'tree'
}

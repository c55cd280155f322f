import type { TransferOp } from './plan.ts'

/**
 * How algorithms for 2^k ranks run on any N: with p = 2^⌊lg N⌋ and r = N - p, of the first 2r ranks each even one gives all it has
 * to the odd one above it, waits, and gets the result back from it. The p others are the survivors.
 * @see Thakur, Rabenseifner & Gropp 2005
 */
export interface Folding {
  /** p. */
  readonly survivors: number
  /** The survivor with this number. */
  readonly rankOf: (virtual: number) => number
  /** The number of this rank among the survivors; undefined for one that gives. */
  readonly virtualOf: (rank: number) => number | undefined
  /** The rank that this one gives to, or takes from. */
  readonly partnerOf: (rank: number) => number | undefined
}

export function foldToPowerOfTwo(ranks: number): Folding {
  const survivors = 2 ** Math.floor(Math.log2(ranks))
  const folded = ranks - survivors
  return {
    survivors,
    rankOf: virtual => (virtual < folded ? 2 * virtual + 1 : virtual + folded),
    virtualOf: rank => (rank >= 2 * folded ? rank - folded : rank % 2 === 1 ? (rank - 1) / 2 : undefined),
    partnerOf: rank => (rank >= 2 * folded ? undefined : rank % 2 === 0 ? rank + 1 : rank - 1),
  }
}

/** The same transfer for each piece. */
export function transfers(
  op: TransferOp['op'],
  peer: number,
  pieces: readonly (readonly [from: number, to: number])[],
): TransferOp[] {
  return pieces.map(([from, to]) => ({ op, peer, from, to }))
}

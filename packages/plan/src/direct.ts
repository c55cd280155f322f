import { transfers } from './folding.ts'
import { checkOptions, checkRoot } from './options.ts'
import { blockRange, type CollectivePlan, type PlanOp, type PlanOptions, segmentsOf } from './plan.ts'

/**
 * Direct all-reduce: rank r owns block r; everyone sends it that block, it adds them in the order r, r-1, r-2, … and sends
 * the sum to everyone. Two hops, 2(N-1) messages and 2(N-1)/N · elems per rank. With a codec each value is rounded twice, however
 * many ranks there are: the shape of quantised all-reduce.
 * @see Dong et al. 2023 (ZeRO++), section 4.3
 */
export function directAllReduce(options: PlanOptions): CollectivePlan {
  return direct('direct-all-reduce', { kind: 'all-reduce' }, options, (rank, pieces) => [
    ...scatterSteps(rank, options.ranks, pieces),
    ...gatherSteps(rank, options.ranks, pieces),
  ])
}

/** Direct reduce-scatter: one hop, N-1 messages, (N-1)/N · elems sent per rank. */
export function directReduceScatter(options: PlanOptions): CollectivePlan {
  return direct('direct-reduce-scatter', { kind: 'reduce-scatter' }, options, (rank, pieces) =>
    scatterSteps(rank, options.ranks, pieces),
  )
}

/** Direct all-gather: one hop, N-1 messages, (N-1)/N · elems sent per rank. */
export function directAllGather(options: PlanOptions): CollectivePlan {
  return direct('direct-all-gather', { kind: 'all-gather' }, options, (rank, pieces) =>
    gatherSteps(rank, options.ranks, pieces),
  )
}

/** Direct gather: every rank sends its block to the root. */
export function directGather(options: PlanOptions & { readonly root: number }): CollectivePlan {
  const { ranks, root } = options
  checkRoot(root, ranks)
  return direct('direct-gather', { kind: 'gather', root }, options, (rank, pieces) =>
    rank === root
      ? othersFrom(rank, ranks).flatMap(peer => transfers('recv', peer, pieces(peer)))
      : transfers('send', root, pieces(rank)),
  )
}

/** Direct scatter: the root sends every rank its block. */
export function directScatter(options: PlanOptions & { readonly root: number }): CollectivePlan {
  const { ranks, root } = options
  checkRoot(root, ranks)
  return direct('direct-scatter', { kind: 'scatter', root }, options, (rank, pieces) =>
    rank === root
      ? othersFrom(rank, ranks).flatMap(peer => transfers('send', peer, pieces(peer)))
      : transfers('recv', root, pieces(rank)),
  )
}

type PiecesOf = (block: number) => readonly (readonly [number, number])[]

function direct(
  name: string,
  collective: CollectivePlan['collective'],
  options: PlanOptions,
  opsOf: (rank: number, pieces: PiecesOf) => readonly PlanOp[],
): CollectivePlan {
  checkOptions(options)
  const { ranks, elems, segmentElems } = options
  const pieces: PiecesOf = block => segmentsOf(blockRange(elems, ranks, block), segmentElems)
  return { name, collective, ranks, elems, ops: Array.from({ length: ranks }, (_, rank) => opsOf(rank, pieces)) }
}

/** The other ranks, beginning with the next: so not all talk to the same one at once. */
export function othersFrom(rank: number, ranks: number): number[] {
  return Array.from({ length: ranks - 1 }, (_, i) => (rank + 1 + i) % ranks)
}

function scatterSteps(rank: number, ranks: number, pieces: PiecesOf): PlanOp[] {
  const others = othersFrom(rank, ranks)
  const own = pieces(rank)
  return [
    ...others.flatMap(peer => transfers('send', peer, pieces(peer))),
    // From the rank before on downwards: the order in which the others come to this one. Piece by piece, so that one goes on early.
    ...own.flatMap(piece => others.toReversed().flatMap(peer => transfers('recvReduce', peer, [piece]))),
  ]
}

function gatherSteps(rank: number, ranks: number, pieces: PiecesOf): PlanOp[] {
  const others = othersFrom(rank, ranks)
  return [
    ...others.flatMap(peer => transfers('send', peer, pieces(rank))),
    ...others.toReversed().flatMap(peer => transfers('recv', peer, pieces(peer))),
  ]
}

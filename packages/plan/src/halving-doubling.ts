import { foldToPowerOfTwo, transfers } from './folding.ts'
import { checkOptions, checkPowerOfTwo } from './options.ts'
import { blockRange, type CollectivePlan, type PlanOp, type PlanOptions, segmentsOf } from './plan.ts'

/**
 * Recursive halving, then doubling (Rabenseifner): with p = 2^⌊lg N⌋ survivors, in round k partners at distance p/2, p/4, … keep one
 * half each of what they share and give the other away, until each owns 1/p of the sum; the same way back hands it out. 2 lg p
 * rounds, 2(p-1)/p · elems sent per survivor: the bytes of a ring in far fewer messages. Where N is no power of two, folding adds
 * 2 rounds and elems more sent by some. One owner finishes each element: the same bits everywhere. Error ≤ ⌈lg N⌉ u Σ|x|.
 * @see Thakur, Rabenseifner & Gropp 2005
 */
export function halvingDoublingAllReduce(options: PlanOptions): CollectivePlan {
  checkOptions(options)
  const { ranks, elems, segmentElems } = options
  const whole = segmentsOf([0, elems], segmentElems)
  const fold = foldToPowerOfTwo(ranks)
  const ops = Array.from({ length: ranks }, (_, rank): PlanOp[] => {
    const virtual = fold.virtualOf(rank)
    const partner = fold.partnerOf(rank)
    if (virtual === undefined) {
      return [...transfers('send', partner as number, whole), ...transfers('recv', partner as number, whole)]
    }
    const list: PlanOp[] = partner === undefined ? [] : transfers('recvReduce', partner, whole)
    list.push(...halving(virtual, { ...options, blocks: fold.survivors, rankOf: fold.rankOf }))
    list.push(...doubling(virtual, { ...options, blocks: fold.survivors, rankOf: fold.rankOf }))
    if (partner !== undefined) list.push(...transfers('send', partner, whole))
    return list
  })
  return { name: 'halving-doubling-all-reduce', collective: { kind: 'all-reduce' }, ranks, elems, ops }
}

/** Recursive halving reduce-scatter among 2^k ranks: lg N rounds, (N-1)/N · elems sent per rank. Error ≤ lg N u Σ|x|. */
export function halvingReduceScatter(options: PlanOptions): CollectivePlan {
  return amongAll('halving-reduce-scatter', { kind: 'reduce-scatter' }, options, halving)
}

/** Recursive doubling all-gather among 2^k ranks: lg N rounds, (N-1)/N · elems sent per rank. */
export function doublingAllGather(options: PlanOptions): CollectivePlan {
  return amongAll('doubling-all-gather', { kind: 'all-gather' }, options, doubling)
}

function amongAll(
  name: string,
  collective: CollectivePlan['collective'],
  options: PlanOptions,
  opsOf: (rank: number, exchange: Exchange) => PlanOp[],
): CollectivePlan {
  checkOptions(options)
  checkPowerOfTwo(options.ranks)
  const { ranks, elems } = options
  const exchange = { ...options, blocks: ranks, rankOf: (rank: number) => rank }
  return { name, collective, ranks, elems, ops: Array.from({ length: ranks }, (_, rank) => opsOf(rank, exchange)) }
}

interface Exchange extends PlanOptions {
  /** A power of two: ranks that take part, and blocks that the buffer is cut into. */
  readonly blocks: number
  readonly rankOf: (virtual: number) => number
}

/** Leaves `virtual` with the sum in block `virtual`. The lower of two partners keeps the lower half. */
function halving(virtual: number, exchange: Exchange): PlanOp[] {
  const { blocks, rankOf } = exchange
  const list: PlanOp[] = []
  for (let distance = blocks / 2; distance >= 1; distance /= 2) {
    const peer = rankOf(virtual ^ distance)
    list.push(...transfers('send', peer, piecesOf(virtual ^ distance, distance, exchange)))
    list.push(...transfers('recvReduce', peer, piecesOf(virtual, distance, exchange)))
  }
  return list
}

/** From block `virtual` to the whole buffer. */
function doubling(virtual: number, exchange: Exchange): PlanOp[] {
  const { blocks, rankOf } = exchange
  const list: PlanOp[] = []
  for (let distance = 1; distance < blocks; distance *= 2) {
    const peer = rankOf(virtual ^ distance)
    list.push(...transfers('send', peer, piecesOf(virtual, distance, exchange)))
    list.push(...transfers('recv', peer, piecesOf(virtual ^ distance, distance, exchange)))
  }
  return list
}

/** The run of `width` blocks that `virtual` is in, cut in segments. */
function piecesOf(virtual: number, width: number, { elems, segmentElems, blocks }: Exchange) {
  const first = virtual - (virtual % width)
  return segmentsOf(
    [blockRange(elems, blocks, first)[0], blockRange(elems, blocks, first + width - 1)[1]],
    segmentElems,
  )
}

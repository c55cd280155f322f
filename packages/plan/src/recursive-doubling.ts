import { foldToPowerOfTwo, transfers } from './folding.ts'
import { checkOptions } from './options.ts'
import { type CollectivePlan, type PlanOp, type PlanOptions, segmentsOf } from './plan.ts'

/**
 * Recursive doubling: ⌊lg N⌋ rounds (2 more where N is no power of two); in round k rank v swaps its whole sum with v xor 2^k, which
 * arrives in a second copy of the buffer and is added. Sends ⌊lg N⌋ · elems per rank: for small buffers. Partners add the same two
 * values, and IEEE addition commutes: the same bits everywhere. Error ≤ ⌈lg N⌉ u Σ|x|.
 * @see Thakur, Rabenseifner & Gropp 2005
 */
export function recursiveDoublingAllReduce(options: PlanOptions): CollectivePlan {
  checkOptions(options)
  const { ranks, elems } = options
  const segments = segmentsOf([0, elems], options.segmentElems)
  const inScratch = segments.map(([from, to]) => [from + elems, to + elems] as const)
  const fold = foldToPowerOfTwo(ranks)
  const ops = Array.from({ length: ranks }, (_, rank): PlanOp[] => {
    const virtual = fold.virtualOf(rank)
    const partner = fold.partnerOf(rank)
    if (virtual === undefined) {
      return [...transfers('send', partner as number, segments), ...transfers('recv', partner as number, segments)]
    }
    const list: PlanOp[] = partner === undefined ? [] : transfers('recvReduce', partner, segments)
    for (let distance = 1; distance < fold.survivors; distance *= 2) {
      const peer = fold.rankOf(virtual ^ distance)
      list.push(...transfers('send', peer, segments), ...transfers('recv', peer, inScratch))
      for (const [from, to] of inScratch) list.push({ op: 'reduce', from, to, at: from - elems })
    }
    if (partner !== undefined) list.push(...transfers('send', partner, segments))
    return list
  })
  return { name: 'recursive-doubling-all-reduce', collective: { kind: 'all-reduce' }, ranks, elems, ops, layers: 2 }
}

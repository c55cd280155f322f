import { checkOptions } from './options.ts'
import type { CollectivePlan, PlanOp } from './plan.ts'

/**
 * Dissemination barrier: ⌈lg N⌉ rounds of tokens; in round k rank r tells r+2^k that it, and all it has heard of, are here.
 * @see Hensgen, Finkel & Manber 1988
 */
export function disseminationBarrier(options: { readonly ranks: number }): CollectivePlan {
  const { ranks } = options
  checkOptions({ ranks, elems: 0 })
  const ops = Array.from({ length: ranks }, (_, r) => {
    const list: PlanOp[] = []
    for (let distance = 1; distance < ranks; distance *= 2) {
      list.push({ op: 'send', peer: (r + distance) % ranks, from: 0, to: 0 })
      list.push({ op: 'recv', peer: (r + ranks - distance) % ranks, from: 0, to: 0 })
    }
    return list
  })
  return { name: 'dissemination-barrier', collective: { kind: 'barrier' }, ranks, elems: 0, ops }
}

import { checkOptions } from './options.ts'
import { type CollectivePlan, type PlanOp, type PlanOptions, segmentsOf } from './plan.ts'

/**
 * Star all-reduce: everyone sends to rank 0, which adds in the order of ranks and sends the sum back. Two hops whatever N is,
 * (N-1) · elems sent by rank 0: the least latency for a handful of values among few ranks.
 */
export function starAllReduce(options: PlanOptions): CollectivePlan {
  checkOptions(options)
  const { ranks, elems } = options
  const segments = segmentsOf([0, elems], options.segmentElems)
  const others = Array.from({ length: ranks - 1 }, (_, i) => i + 1)
  const centre: PlanOp[] = []
  const point: PlanOp[] = []
  for (const [from, to] of segments) {
    for (const peer of others) centre.push({ op: 'recvReduce', peer, from, to })
    for (const peer of others) centre.push({ op: 'send', peer, from, to })
    point.push({ op: 'send', peer: 0, from, to })
  }
  for (const [from, to] of segments) point.push({ op: 'recv', peer: 0, from, to })
  return {
    name: 'star-all-reduce',
    collective: { kind: 'all-reduce' },
    ranks,
    elems,
    ops: [centre, ...others.map(() => point)],
  }
}

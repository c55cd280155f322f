import { checkOptions } from './options.ts'
import { blockRange, type CollectivePlan, type PlanOp, type PlanOptions, segmentsOf } from './plan.ts'

/**
 * Ring reduce-scatter: N-1 steps; in step s rank r sends block r-1-s to r+1 and adds what arrives into block r-2-s; it ends
 * owning block r. Sends (N-1)/N · elems per rank. Block b is summed in the order of ranks b+1, b+2, …, b: one owner, so same bits.
 * @see Patarasuk & Yuan 2009 (there rank r ends with block r+1); segments as in Gloo
 */
export function ringReduceScatter(options: PlanOptions): CollectivePlan {
  return ring('ring-reduce-scatter', { kind: 'reduce-scatter' }, options, r => reduceScatterSteps(options, r))
}

/** Ring all-gather: N-1 steps; in step s rank r sends block r-s to r+1 and stores block r-1-s. Sends ≤ (N-1)/N · elems per rank. */
export function ringAllGather(options: PlanOptions): CollectivePlan {
  return ring('ring-all-gather', { kind: 'all-gather' }, options, r => allGatherSteps(options, r))
}

/** Ring all-reduce: reduce-scatter, then all-gather. 2(N-1) steps, 2(N-1)/N · elems sent per rank: the least there is. */
export function ringAllReduce(options: PlanOptions): CollectivePlan {
  return ring('ring-all-reduce', { kind: 'all-reduce' }, options, r => [
    ...reduceScatterSteps(options, r),
    ...allGatherSteps(options, r),
  ])
}

/** One step of a ring: a block to the next rank, a block from the one before. */
interface RingStep {
  readonly send: number
  readonly receive: number
  readonly op: 'recv' | 'recvReduce'
}

function reduceScatterSteps({ ranks }: PlanOptions, r: number): RingStep[] {
  return Array.from({ length: ranks - 1 }, (_, s) => ({ send: r - 1 - s, receive: r - 2 - s, op: 'recvReduce' }))
}

function allGatherSteps({ ranks }: PlanOptions, r: number): RingStep[] {
  return Array.from({ length: ranks - 1 }, (_, s) => ({ send: r - s, receive: r - 1 - s, op: 'recv' }))
}

function ring(
  name: string,
  collective: CollectivePlan['collective'],
  options: PlanOptions,
  stepsOf: (rank: number) => readonly RingStep[],
): CollectivePlan {
  checkOptions(options)
  const { ranks, elems, segmentElems } = options
  const segments = (block: number) =>
    segmentsOf(blockRange(elems, ranks, ((block % ranks) + ranks) % ranks), segmentElems)
  const ops = Array.from({ length: ranks }, (_, r) => {
    const next = (r + 1) % ranks
    const previous = (r + ranks - 1) % ranks
    const steps = stepsOf(r)
    const list: PlanOp[] = []
    for (const [s, step] of steps.entries()) {
      // What step s receives is what step s+1 sends: each piece goes on as soon as it is there.
      if (s === 0) for (const [from, to] of segments(step.send)) list.push({ op: 'send', peer: next, from, to })
      for (const [from, to] of segments(step.receive)) {
        list.push({ op: step.op, peer: previous, from, to })
        if (s + 1 < steps.length) list.push({ op: 'send', peer: next, from, to })
      }
    }
    return list
  })
  return { name, collective, ranks, elems, ops }
}

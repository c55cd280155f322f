import { SkeinError } from '@skein/core'
import { PlanErrors } from './errors.ts'
import { type CollectiveKind, type CollectivePlan, isTransfer, type PlanOp } from './plan.ts'

/** The plan of a part of the ranks, and of a part of the buffer, as lists for all: rank i of it is `rankOf[i]`, element 0 is `offset`. */
export function embed(
  plan: CollectivePlan,
  rankOf: readonly number[],
  offset: number,
): ReadonlyMap<number, readonly PlanOp[]> {
  return new Map(
    plan.ops.map((list, rank) => [
      rankOf[rank] as number,
      list.map((op): PlanOp => {
        const range = { from: op.from + offset, to: op.to + offset }
        if (isTransfer(op)) return { ...op, ...range, peer: rankOf[op.peer] as number }
        return op.op === 'encode' ? { ...op, ...range } : { ...op, ...range, at: op.at + offset }
      }),
    ]),
  )
}

/**
 * The same algorithm among the same ranks in another order: `order[i]` runs what rank i ran, and a root moves with it.
 * @throws SKEIN_PLAN_OPTIONS for what is no order, and for collectives whose blocks belong to ranks: blocks differ in size
 */
export function permuteRanks(plan: CollectivePlan, order: readonly number[]): CollectivePlan {
  const { collective, ranks } = plan
  const isOrder = order.length === ranks && plan.ops.every((_, rank) => order.includes(rank))
  if (!isOrder || hasBlocks[collective.kind]) {
    throw new SkeinError(PlanErrors.OPTIONS, {
      what: `the plan ${plan.name} of ${ranks} ranks was asked for in the order ${order.join(', ')}`,
      why: isOrder ? `in ${collective.kind} blocks belong to ranks` : 'an order names every rank once',
      todo: 'correct the caller',
      details: { name: plan.name, order },
    })
  }
  const lists = embed(plan, order, 0)
  return {
    ...plan,
    collective: 'root' in collective ? { ...collective, root: order[collective.root] as number } : collective,
    ops: plan.ops.map((_, rank) => lists.get(rank) ?? []),
  }
}

const hasBlocks: Readonly<Record<CollectiveKind, boolean>> = {
  'all-reduce': false,
  broadcast: false,
  reduce: false,
  barrier: false,
  'reduce-scatter': true,
  'all-gather': true,
  gather: true,
  scatter: true,
  'all-to-all': true,
}

import { type CollectivePlan, isTransfer, type PlanOp } from './plan.ts'

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

/** The same algorithm among the same ranks in another order: `order[i]` runs what rank i ran. Not where blocks belong to ranks. */
export function permuteRanks(plan: CollectivePlan, order: readonly number[]): CollectivePlan {
  const lists = embed(plan, order, 0)
  return { ...plan, ops: plan.ops.map((_, rank) => lists.get(rank) ?? []) }
}

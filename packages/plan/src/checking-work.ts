import { cellsOf, placesOf, rangesOf } from './cells.ts'
import type { CollectivePlan, PlanOp } from './plan.ts'

/**
 * Cells that a check of a well-formed plan looks at, but for copies of copies: so that the text of a stranger cannot ask for a check
 * of hours. Takes about as long as reading the plan.
 */
export function checkingWork(plan: CollectivePlan): number {
  const { collective, ranks, elems, spaces, layers = 1 } = plan
  const numOps = plan.ops.reduce((sum, ops) => sum + ops.length, 0)
  if (collective.kind === 'barrier') return numOps * ranks
  if (spaces !== undefined) {
    // Looking for the wanted blocks of each output.
    let work = ranks * ranks * ranks
    for (const ops of plan.ops) {
      const cells = cellsOf(ops)
      work += visits(ops, range => {
        const [first, last] = cells.of(range)
        return last - first
      })
    }
    return work
  }
  const places = placesOf(plan)
  const index = new Map(places.map((place, i) => [place, i]))
  const at = (address: number) => index.get(address % elems) ?? 0
  let work = ranks * places.length * layers
  for (const ops of plan.ops) work += visits(ops, ({ from, to }) => (at(to) || places.length) - at(from))
  return work * (ranks + 1)
}

function visits(ops: readonly PlanOp[], cellsIn: (range: { readonly from: number; readonly to: number }) => number) {
  let sum = ops.length
  for (const op of ops) {
    const { reads, writes } = rangesOf(op)
    if (reads !== undefined) sum += cellsIn(reads)
    if (writes !== undefined) sum += cellsIn(writes)
  }
  return sum
}

/** Up to this many ranks every order is looked at: (N-1)! of them. */
const exactRanks = 8

/** What a ring costs: first its worst edge, since the ring is as slow as that, then the sum. */
interface RingCost {
  readonly worst: number
  readonly sum: number
}

/**
 * An order of ranks whose ring has the least worst edge and, among those, the least sum; rank 0 first. `cost[i][j]` is what a byte
 * from i to j takes. Exact up to 8 ranks; above, the best of N nearest-neighbour rings after 2-opt and moves of single ranks.
 * The same costs give the same order everywhere.
 *
 * PRIME minimises the sum alone, which a ring with one bad edge can win.
 * @see Jaghouar et al. 2024 (INTELLECT-1)
 */
export function ringOrder(cost: readonly (readonly number[])[]): readonly number[] {
  const ranks = cost.length
  const others = Array.from({ length: ranks }, (_, i) => i).slice(1)
  if (ranks <= 2) return ranks === 0 ? [] : [0, ...others]
  if (ranks <= exactRanks)
    return bestOf(
      permutations(others).map(order => [0, ...order]),
      cost,
    )
  const candidates = [0, ...others].map(start => improved(fromZero(nearestNeighbours(start, cost)), cost))
  return bestOf(candidates, cost)
}

export function ringCost(order: readonly number[], cost: readonly (readonly number[])[]): RingCost {
  let worst = 0
  let sum = 0
  for (const [i, from] of order.entries()) {
    const edge = cost[from]?.[order[(i + 1) % order.length] as number] as number
    worst = Math.max(worst, edge)
    sum += edge
  }
  return { worst, sum }
}

function isBetter(a: RingCost, b: RingCost): boolean {
  return a.worst < b.worst || (a.worst === b.worst && a.sum < b.sum)
}

/** The first of the best. */
function bestOf(orders: readonly number[][], cost: readonly (readonly number[])[]): readonly number[] {
  let best = orders[0] as number[]
  let least = ringCost(best, cost)
  for (const order of orders) {
    const is = ringCost(order, cost)
    if (!isBetter(is, least)) continue
    best = order
    least = is
  }
  return best
}

function permutations(items: readonly number[]): number[][] {
  if (items.length <= 1) return [[...items]]
  return items.flatMap((item, i) => permutations(items.toSpliced(i, 1)).map(rest => [item, ...rest]))
}

function nearestNeighbours(start: number, cost: readonly (readonly number[])[]): number[] {
  const order = [start]
  const left = new Set(cost.keys())
  left.delete(start)
  while (left.size > 0) {
    const row = cost[order.at(-1) as number] as readonly number[]
    let next = -1
    for (const rank of left) if (next < 0 || (row[rank] as number) < (row[next] as number)) next = rank
    order.push(next)
    left.delete(next)
  }
  return order
}

function fromZero(order: readonly number[]): number[] {
  const at = order.indexOf(0)
  return [...order.slice(at), ...order.slice(0, at)]
}

/** Reverses parts and moves ranks while that helps. */
function improved(start: number[], cost: readonly (readonly number[])[]): number[] {
  let order = start
  let is = ringCost(order, cost)
  for (let moved = true; moved; ) {
    moved = false
    for (const next of neighbours(order)) {
      const then = ringCost(next, cost)
      if (!isBetter(then, is)) continue
      order = next
      is = then
      moved = true
      break
    }
  }
  return order
}

function* neighbours(order: readonly number[]): Generator<number[]> {
  for (let i = 1; i < order.length; i++) {
    for (let j = i + 1; j < order.length; j++) {
      yield [...order.slice(0, i), ...order.slice(i, j + 1).toReversed(), ...order.slice(j + 1)]
      const without = order.toSpliced(i, 1)
      yield without.toSpliced(j, 0, order[i] as number)
      const back = order.toSpliced(j, 1)
      yield back.toSpliced(i, 0, order[j] as number)
    }
  }
}

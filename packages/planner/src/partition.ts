import { SkeinError } from '@skein/core'
import { PlannerErrors } from './errors.ts'

/**
 * Cuts a row of units into stages, at least one unit each, so that the dearest stage is as cheap as can be (a pipeline runs at its
 * pace), and the others as even as that allows. Returns how many units each stage has. Of equals the one with fewer units in front.
 * @see Harlap et al. 2018, PipeDream, section 3.2: the same dynamic programming, without replicated stages
 * @throws SKEIN_PLANNER_TOO_MANY_STAGES
 */
export function partition(costs: readonly number[], numStages: number): readonly number[] {
  if (!(Number.isSafeInteger(numStages) && numStages >= 1 && numStages <= costs.length)) throw tooMany(costs, numStages)
  const until = costs.reduce<number[]>((sums, cost) => [...sums, (sums.at(-1) as number) + cost], [0])
  const costOf = (from: number, to: number) => (until[to] as number) - (until[from] as number)
  const dearest = Math.max(...stagesOf(cheapest(costs.length, numStages, costOf, Math.max), costOf))
  // Sums in another order differ in their last bits.
  const most = dearest * (1 + 1e-12)
  const evenly = (from: number, to: number) =>
    costOf(from, to) > most ? Number.POSITIVE_INFINITY : costOf(from, to) ** 2
  const ends = cheapest(costs.length, numStages, evenly, (sum, one) => sum + one)
  return ends.map((end, stage) => end - (ends[stage - 1] ?? 0))
}

/** What a unit that `counts` puts into each stage costs in all, by stage. */
export function perStage(counts: readonly number[], costs: readonly number[]): readonly number[] {
  let next = 0
  return counts.map(count => {
    const from = next
    next += count
    return costs.slice(from, next).reduce((sum, cost) => sum + cost, 0)
  })
}

type CostOf = (from: number, to: number) => number

/** The ends of the stages whose costs, joined, come to least. */
function cheapest(
  units: number,
  numStages: number,
  costOf: CostOf,
  join: (before: number, stage: number) => number,
): readonly number[] {
  /** By stages and units they take: the least cost, and where the last of them begins. */
  const best: { readonly cost: number; readonly from: number }[][] = [[{ cost: 0, from: 0 }]]
  for (let stages = 1; stages <= numStages; stages++) {
    const row: { cost: number; from: number }[] = []
    for (let to = stages; to <= units - (numStages - stages); to++) {
      let least = { cost: Number.POSITIVE_INFINITY, from: stages - 1 }
      for (let from = stages - 1; from < to; from++) {
        const before = best[stages - 1]?.[from]
        if (before === undefined) continue
        const cost = join(before.cost, costOf(from, to))
        if (cost < least.cost) least = { cost, from }
      }
      row[to] = least
    }
    best.push(row)
  }
  const ends: number[] = []
  for (let stages = numStages, to = units; stages >= 1; stages--) {
    ends.unshift(to)
    to = best[stages]?.[to]?.from as number
  }
  return ends
}

function stagesOf(ends: readonly number[], costOf: CostOf): readonly number[] {
  return ends.map((end, stage) => costOf(ends[stage - 1] ?? 0, end))
}

function tooMany(costs: readonly number[], numStages: number): SkeinError {
  return new SkeinError(PlannerErrors.TOO_MANY_STAGES, {
    what: `a model of ${costs.length} units was to be cut into ${numStages} stages`,
    why: 'a stage has at least one unit: the embedding, a block or the head of a GPT, a layer of other models',
    todo: `take a whole number of stages from 1 to ${costs.length}: fewer ranks, or fewer chunks on each`,
    details: { units: costs.length, numStages },
  })
}

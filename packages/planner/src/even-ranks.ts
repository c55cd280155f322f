import { partition, perStage } from './partition.ts'

/**
 * A partition for stages that lie several on a rank: what counts is then the work of the dearest rank, not that of the dearest stage. Begins at
 * `partition` and shifts one or two borders by a unit as long as that makes the dearest rank cheaper, or, at the same, the stages more
 * even. Not always the best there is, never worse than where it began.
 * @param pipes as in a schedule: per pipe the rank of each stage; microbatches are dealt to the pipes evenly
 * @throws SKEIN_PLANNER_TOO_MANY_STAGES
 */
export function evenRanks(costs: readonly number[], pipes: readonly (readonly number[])[]): readonly number[] {
  const numStages = pipes[0]?.length ?? 0
  let best = { counts: partition(costs, numStages), score: [] as readonly number[] }
  best = { ...best, score: scoreOf(best.counts, costs, pipes) }
  for (;;) {
    const better = shiftsOf(best.counts)
      .map(counts => ({ counts, score: scoreOf(counts, costs, pipes) }))
      .reduce((least, one) => (isLess(one.score, least.score) ? one : least), best)
    if (better === best) return best.counts
    best = better
  }
}

/** Work of the dearest rank, then evenness of the ranks, then of the stages. */
function scoreOf(counts: readonly number[], costs: readonly number[], pipes: readonly (readonly number[])[]): number[] {
  const stages = perStage(counts, costs)
  const ranks: number[] = []
  for (const places of pipes) {
    for (const [stage, rank] of places.entries()) ranks[rank] = (ranks[rank] ?? 0) + (stages[stage] as number)
  }
  const squares = (values: readonly number[]) => values.reduce((sum, value) => sum + value ** 2, 0)
  return [Math.max(...ranks), squares(ranks), squares(stages)]
}

/** Less in the first that differs by more than the last bits of sums. */
function isLess(a: readonly number[], b: readonly number[]): boolean {
  const at = a.findIndex((value, i) => Math.abs(value - (b[i] as number)) > 1e-9 * Math.abs(value))
  return at >= 0 && (a[at] as number) < (b[at] as number)
}

/** With one border a unit further on or back, or two. */
function shiftsOf(counts: readonly number[]): readonly (readonly number[])[] {
  const single = (from: readonly number[], border: number): readonly (readonly number[])[] =>
    [-1, +1].flatMap(by => {
      const shifted = from
        .with(border, (from[border] as number) + by)
        .with(border + 1, (from[border + 1] as number) - by)
      return shifted.every(count => count >= 1) ? [shifted] : []
    })
  const borders = Array.from({ length: counts.length - 1 }, (_, border) => border)
  return borders.flatMap(border =>
    single(counts, border).flatMap(one => [one, ...borders.slice(border + 1).flatMap(other => single(one, other))]),
  )
}

import { upTo } from './build.ts'
import type { ComputeOp, Schedule } from './schedule.ts'
import { withVocabularyForwards } from './vocabulary-shards.ts'

/**
 * Any number of microbatches forwards through the stages as another schedule has placed them, stage by stage on each rank: for an evaluation.
 * With a sharded vocabulary, its passes up to the loss too. Nothing is kept, copied, reduced or updated; microbatches take the first pipe, and every stage.
 */
export function forwardSchedule(placed: Schedule, microbatches: number): Schedule {
  const places = placed.pipes[0] ?? []
  const { ranks, stages, slices } = placed
  const forward = (stage: number, microbatch: number, slice: number): ComputeOp => ({
    op: 'F',
    stage,
    microbatch,
    ...(slices > 1 ? { slice } : {}),
  })
  const forwards: Schedule = {
    name: `${placed.name} forwards`,
    ranks,
    stages,
    microbatches,
    slices,
    pipes: [places],
    updates: 'step',
    ops: upTo(ranks).map(rank =>
      [...places.keys()]
        .filter(stage => places[stage] === rank)
        .flatMap(stage =>
          upTo(microbatches).flatMap(microbatch => upTo(slices).map(slice => forward(stage, microbatch, slice))),
        ),
    ),
  }
  return placed.vocabulary === undefined ? forwards : withVocabularyForwards(forwards)
}

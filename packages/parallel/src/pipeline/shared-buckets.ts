import type { FlatLayout, PipelineModel } from '@skein/model'
import type { Schedule } from '@skein/schedule'
import { type PipelineMesh, ranksSharing } from './mesh.ts'

/** A bucket of gradients, and who has a part of its sum. */
export interface SharedBucket {
  /** Of the rank's layout. */
  readonly index: number
  /** Stages that have its parameters: several where they are tied. */
  readonly stages: readonly number[]
  /** Every rank that holds it, rising. */
  readonly ranks: readonly number[]
  /** Number of the group of these ranks, the same on all of them; from 1, 0 is the group of all. */
  readonly groupNumber: number
}

/**
 * The buckets of a rank's layout with those who share them. A group has its number from the stages, so that all of its ranks find the same
 * without knowing of other groups; where two buckets have the same ranks they have one group.
 */
export function sharedBuckets(
  model: Pick<PipelineModel, 'layout' | 'stagesOf' | 'numStages'>,
  mesh: PipelineMesh,
  schedule: Pick<Schedule, 'pipes'>,
): SharedBucket[] {
  const numberOf = groupNumbers(mesh, schedule)
  return model.layout.buckets.map((bucket, index) => {
    const stages = model.stagesOf(firstOf(model.layout, bucket.segment))
    const ranks = ranksSharing(mesh, schedule, stages)
    return { index, stages, ranks, groupNumber: numberOf(ranks, stages) }
  })
}

/** The group of copies of one stage is numbered by the first stage with these ranks, that of tied stages by the first and the last. */
function groupNumbers(mesh: PipelineMesh, schedule: Pick<Schedule, 'pipes'>) {
  const numStages = schedule.pipes[0]?.length ?? 0
  const byRanks = new Map<string, number>()
  for (let stage = numStages - 1; stage >= 0; stage--)
    byRanks.set(ranksSharing(mesh, schedule, [stage]).join(), 1 + stage)
  return (ranks: readonly number[], stages: readonly number[]) =>
    byRanks.get(ranks.join()) ?? 1 + numStages + (stages[0] as number) * numStages + (stages.at(-1) as number)
}

const firstOf = (layout: FlatLayout, segment: number): string =>
  layout.tensors.find(tensor => tensor.segment === segment)?.name ?? ''

import type { Schedule } from '@skein/schedule'

/**
 * `dp` replicas of a pipeline over `pp` parts. Ranks are laid out replica by replica: the parts of a replica are neighbours, and talk most.
 */
export interface PipelineMesh {
  readonly dp: number
  readonly pp: number
}

export const rankAt = ({ pp }: PipelineMesh, replica: number, part: number): number => replica * pp + part

/** Parts that hold a copy of any of these stages, rising. Two where microbatches run in both directions. */
export function partsHolding(schedule: Pick<Schedule, 'pipes'>, stages: readonly number[]): number[] {
  const parts = new Set(schedule.pipes.flatMap(places => stages.map(stage => places[stage] as number)))
  return [...parts].sort((a, b) => a - b)
}

/** Stages of a part, rising. */
export function stagesOfPart(schedule: Pick<Schedule, 'pipes'>, part: number): number[] {
  const stages = new Set(schedule.pipes.flatMap(places => [...places.keys()].filter(stage => places[stage] === part)))
  return [...stages].sort((a, b) => a - b)
}

/** Ranks that sum the gradients of parameters which these stages have: every copy, in every replica. */
export function ranksSharing(
  mesh: PipelineMesh,
  schedule: Pick<Schedule, 'pipes'>,
  stages: readonly number[],
): number[] {
  const parts = partsHolding(schedule, stages)
  return Array.from({ length: mesh.dp }, (_, replica) => parts.map(part => rankAt(mesh, replica, part))).flat()
}

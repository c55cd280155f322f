import type { ResolvedJob } from './job-types.ts'
import { vocabularyProblem } from './job-schedule.ts'
import { microbatchesProblem } from './schedules.ts'

/** Workers of a mesh: one for each part of each replica. */
export const workersOf = ({ dp, pp }: ResolvedJob['mesh']): number => dp * pp

/**
 * Numbers of replicas of a model that is cut among which the batch can be divided, up to `most`, rising: each has as many whole microbatches, and as
 * many as the schedule takes. Undefined: of a model that is not cut, any.
 */
export function possibleReplicas({ batch, mesh, schedule }: ResolvedJob, most: number): readonly number[] | undefined {
  if (schedule === undefined) return undefined
  return Array.from({ length: most }, (_, i) => i + 1).filter(dp => {
    const microbatches = batch.global / (dp * batch.micro)
    if (!Number.isInteger(microbatches)) return false
    const problem = microbatchesProblem(schedule, mesh.pp, microbatches)
    return (problem ?? vocabularyProblem(schedule, mesh.pp, microbatches)) === undefined
  })
}

import { SkeinError } from '@skein/core'
import {
  type Costs,
  generateSchedule,
  offloadActivations,
  type PassTimes,
  recompute,
  type Schedule,
  ScheduleErrors,
  usualCopyCosts,
  withVocabularyShards,
} from '@skein/schedule'
import type { JobSchedule, ResolvedJob, ScheduleCosts } from './job-types.ts'

/**
 * The schedule of one replica of a job whose model is cut in parts, when there are `dp` replicas.
 * @throws SKEIN_SCHEDULE_OPTIONS where the rule makes none for so many microbatches, or none with the vocabulary over all ranks
 */
export function jobSchedule(job: ResolvedJob, dp: number): Schedule {
  const { batch, mesh, schedule } = job
  if (schedule === undefined) throw new Error(`the job ${job.name} has a model in one part, which needs no schedule`)
  const plain = plainSchedule(schedule, mesh.pp, batch.global / (dp * batch.micro))
  const dropped = schedule.recompute ? recompute(plain) : plain
  return schedule.offload ? offloadActivations(dropped, usualCopyCosts) : dropped
}

/**
 * Why a schedule that the rule makes cannot have the vocabulary over all ranks, as the end of a sentence; undefined where it can, and where the
 * vocabulary is whole.
 */
export function vocabularyProblem(schedule: JobSchedule, ranks: number, microbatches: number): string | undefined {
  if (schedule.vocabulary !== 'sharded') return undefined
  try {
    plainSchedule(schedule, ranks, microbatches)
    return undefined
  } catch (error) {
    const isRefusal = error instanceof SkeinError && refusals.has(error.code)
    if (isRefusal) return error.why
    throw error
  }
}

const refusals: ReadonlySet<string> = new Set([ScheduleErrors.OPTIONS.code, ScheduleErrors.INVALID.code])

/** Before activations are dropped or copied. */
function plainSchedule(schedule: JobSchedule, ranks: number, microbatches: number): Schedule {
  const { name, chunks, slices, vocabulary, cap } = schedule
  const costs = schedule.costs && asCosts(schedule.costs, ranks)
  const sizes = { ranks, microbatches, chunks, slices }
  const searched = { ...(cap === undefined ? {} : { cap }), ...(costs === undefined ? {} : { costs }) }
  const plain = generateSchedule(name, name === 'auto' ? { ...sizes, ...searched } : sizes)
  return vocabulary === 'sharded' ? withVocabularyShards(plain, costs) : plain
}

/** With the means that a rank's times are where stages differ. */
function asCosts({ stages, ...links }: ScheduleCosts, ranks: number): Costs {
  const mean = (of: (times: PassTimes) => number) => stages.reduce((sum, times) => sum + of(times), 0) / ranks
  return {
    forward: mean(times => times.forward),
    inputGrad: mean(times => times.inputGrad),
    weightGrad: mean(times => times.weightGrad),
    stages,
    ...links,
  }
}

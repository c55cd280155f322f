import {
  type Costs,
  generateSchedule,
  offloadActivations,
  type PassTimes,
  recompute,
  type Schedule,
  usualCopyCosts,
} from '@skein/schedule'
import type { ResolvedJob, ScheduleCosts } from './job-types.ts'

/**
 * The schedule of one replica of a job whose model is cut in parts, when there are `dp` replicas.
 * @throws SKEIN_SCHEDULE_OPTIONS where the rule makes none for so many microbatches
 */
export function jobSchedule(job: ResolvedJob, dp: number): Schedule {
  const { batch, mesh, schedule } = job
  if (schedule === undefined) throw new Error(`the job ${job.name} has a model in one part, which needs no schedule`)
  const { name, chunks, slices, cap, costs } = schedule
  const microbatches = batch.global / (dp * batch.micro)
  const plain = generateSchedule(name, {
    ranks: mesh.pp,
    microbatches,
    chunks,
    slices,
    ...(cap === undefined ? {} : { cap }),
    ...(costs === undefined ? {} : { costs: asCosts(costs, mesh.pp) }),
  })
  const dropped = schedule.recompute ? recompute(plain) : plain
  return schedule.offload ? offloadActivations(dropped, usualCopyCosts) : dropped
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

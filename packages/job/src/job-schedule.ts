import { type Costs, generateSchedule, offloadActivations, recompute, type Schedule } from '@skein/schedule'
import type { ResolvedJob } from './job-types.ts'

/** What an activation's way to the host and back is planned for, where nothing was measured: half a forward pass each way. */
const plannedCosts: Costs = { forward: 1, inputGrad: 1, weightGrad: 1, copy: 0.5 }

/**
 * The schedule of one replica of a job whose model is cut in parts, when there are `dp` replicas.
 * @throws SKEIN_SCHEDULE_OPTIONS where the rule makes none for so many microbatches
 */
export function jobSchedule(job: ResolvedJob, dp: number): Schedule {
  const { batch, mesh, schedule } = job
  if (schedule === undefined) throw new Error(`the job ${job.name} has a model in one part, which needs no schedule`)
  const { name, chunks, slices } = schedule
  const microbatches = batch.global / (dp * batch.micro)
  const plain = generateSchedule(name, { ranks: mesh.pp, microbatches, chunks, slices })
  const dropped = schedule.recompute ? recompute(plain) : plain
  return schedule.offload ? offloadActivations(dropped, plannedCosts) : dropped
}

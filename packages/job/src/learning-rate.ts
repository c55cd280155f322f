import type { ResolvedJob } from './job-types.ts'

/**
 * The learning rate of a step, counted from 1: a linear rise over warmupSteps, then constant or a half cosine down towards
 * minLr. A pure function of (job, step). @see Loshchilov & Hutter 2017, "SGDR"
 */
export function lrAt(job: Pick<ResolvedJob, 'optimizer' | 'steps'>, step: number): number {
  const { lr, minLr, warmupSteps, schedule } = job.optimizer
  if (step <= warmupSteps) return (lr * step) / (warmupSteps + 1)
  if (schedule === 'constant') return lr
  const progress = Math.min(1, (step - 1 - warmupSteps) / (job.steps - warmupSteps))
  return minLr + (lr - minLr) * 0.5 * (1 + Math.cos(Math.PI * progress))
}

import { SkeinError } from '@skein/core'
import { PlanErrors } from './errors.ts'

/** One entry of what a worker does in one optimizer step. */
export type StepOp =
  /** Forward of one microbatch through the whole model. */
  | { readonly op: 'F'; readonly microbatch: number }
  /** Backward of one microbatch through one segment of the model: input and weight gradients; adds to its bucket. */
  | { readonly op: 'BW'; readonly microbatch: number; readonly segment: number }
  /** Start of the all-reduce of a bucket; goes on beside what follows, up to `update`. */
  | { readonly op: 'reduce'; readonly bucket: number }
  /** Waits for the reductions, then makes the new parameters. */
  | { readonly op: 'update' }

export interface DataParallelStepOptions {
  /** Microbatches of this rank, from 1. */
  readonly numMicrobatches: number
  /** Segments of the model = buckets of gradients, from 1. */
  readonly numSegments: number
}

/**
 * The data-parallel step: microbatches one after another; in the last one each bucket is reduced as soon as its segment's
 * gradients are complete. Buckets are numbered in the order in which they complete: bucket 0 is the last segment's.
 * @see Li et al. 2020, PyTorch Distributed
 */
export function dataParallelStep({ numMicrobatches, numSegments }: DataParallelStepOptions): readonly StepOp[] {
  if (
    !(Number.isInteger(numMicrobatches) && numMicrobatches >= 1 && Number.isInteger(numSegments) && numSegments >= 1)
  ) {
    throw new SkeinError(PlanErrors.OPTIONS, {
      what: `a step of ${numMicrobatches} microbatches and ${numSegments} segments was asked for`,
      why: 'both start at 1',
      todo: 'correct the caller',
      details: { numMicrobatches, numSegments },
    })
  }
  const ops: StepOp[] = []
  for (let microbatch = 0; microbatch < numMicrobatches; microbatch++) {
    ops.push({ op: 'F', microbatch })
    for (let segment = numSegments - 1; segment >= 0; segment--) {
      ops.push({ op: 'BW', microbatch, segment })
      if (microbatch === numMicrobatches - 1) ops.push({ op: 'reduce', bucket: numSegments - 1 - segment })
    }
  }
  ops.push({ op: 'update' })
  return ops
}

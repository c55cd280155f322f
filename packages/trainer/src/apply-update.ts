import { SkeinError } from '@skein/core'
import type { Simd } from '@skein/simd'
import { TrainerErrors } from './errors.ts'
import type { TrainingState } from './training-state.ts'

export interface UpdateOptions {
  /** The step being made, from 1: AdamW's bias correction counts from it. */
  readonly step: number
  readonly lr: number
  readonly beta1: number
  readonly beta2: number
  readonly eps: number
  readonly weightDecay: number
  /** Largest L2 norm of the mean gradient; 0 leaves it as it is. */
  readonly clipNorm: number
  /** Samples in the reduced gradient sum, from the reduced tail. */
  readonly samples: number
}

/**
 * One AdamW step (Loshchilov & Hutter 2019, as torch.optim.AdamW) from the reduced gradient sums: reads the current slot,
 * writes the other, flips. Identical inputs give identical bits on every machine, so digests can be compared (ADR 0001).
 *
 * Returns the L2 norm of the mean gradient before clipping. @throws SKEIN_TRAINER_NONFINITE before anything is written.
 */
export function applyUpdate(simd: Simd, state: TrainingState, options: UpdateOptions): number {
  const { layout, gradients } = state
  const norm = Math.sqrt(simd.sumSquares(gradients.byteOffset, layout.totalElems)) / options.samples
  if (!Number.isFinite(norm)) {
    throw new SkeinError(TrainerErrors.NONFINITE, {
      what: `the gradient of step ${options.step} is not finite`,
      why: 'the learning rate is too high, or a sample holds extreme values',
      todo: `lower the learning rate (now ${options.lr}), or resume from the last checkpoint with another seed`,
      details: { step: options.step, lr: options.lr },
    })
  }
  const clip = options.clipNorm > 0 && norm > options.clipNorm ? options.clipNorm / norm : 1
  const from = state.current()
  const to = state.other()
  for (const slab of layout.slabs) {
    const offset = slab.offset * 4
    simd.adamw({
      p: from.params.byteOffset + offset,
      m: from.expAvg.byteOffset + offset,
      v: from.expAvgSq.byteOffset + offset,
      g: gradients.byteOffset + offset,
      pOut: to.params.byteOffset + offset,
      mOut: to.expAvg.byteOffset + offset,
      vOut: to.expAvgSq.byteOffset + offset,
      n: slab.elems,
      lr: options.lr,
      beta1: options.beta1,
      beta2: options.beta2,
      eps: options.eps,
      weightDecay: slab.decay ? options.weightDecay : 0,
      gradScale: clip / options.samples,
      step: options.step,
    })
  }
  state.flip(options.step)
  return norm
}

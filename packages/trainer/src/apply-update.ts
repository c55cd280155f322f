import { SkeinError } from '@skein/core'
import { type AdamwOptions, adamwSlabs, type Simd } from '@skein/simd'
import type { UpdateHistory } from '@skein/catchup'
import { TrainerErrors } from './errors.ts'
import type { TrainingState } from './training-state.ts'

export interface UpdateOptions extends Omit<AdamwOptions, 'gradScale'> {
  /** Largest L2 norm of the mean gradient; 0 leaves it as it is. */
  readonly clipNorm: number
  /** Samples in the reduced gradient sum, from the reduced tail. */
  readonly samples: number
  /** Of the whole model's reduced gradient sums; of more than this rank's where others have parameters that it has not. */
  readonly sumSquares: number
}

/**
 * One AdamW step (Loshchilov & Hutter 2019, as torch.optim.AdamW) from the reduced gradient sums: reads the current slot,
 * writes the other, flips. Identical inputs give identical bits on every machine, so digests can be compared (ADR 0001).
 *
 * With a `history` the update is recorded there first, for those who repeat it. Returns the L2 norm of the mean gradient before clipping. @throws SKEIN_TRAINER_NONFINITE before anything is written.
 */
export function applyUpdate(simd: Simd, state: TrainingState, options: UpdateOptions, history?: UpdateHistory): number {
  const norm = gradNorm(options)
  const clip = clipOf(options)
  if (clip === 0) throw nonFinite(options)
  writeUpdate(simd, state, options, clip, history)
  state.flip(options.step)
  return norm
}

/** What an update depends on that is summed over all ranks. */
type Summed = Pick<UpdateOptions, 'sumSquares' | 'samples'>

/** L2 norm of the mean gradient. */
export function gradNorm({ sumSquares, samples }: Summed): number {
  return Math.sqrt(sumSquares) / samples
}

/**
 * What the gradient is multiplied with so that its norm is not over `clipNorm`; 0 where it is not finite, and there is to be no update. It does
 * not rise where more squares are added.
 */
export function clipOf(options: Summed & Pick<UpdateOptions, 'clipNorm'>): number {
  const { clipNorm } = options
  const norm = gradNorm(options)
  if (!Number.isFinite(norm)) return 0
  return clipNorm > 0 && norm > clipNorm ? clipNorm / norm : 1
}

/** Writes the state after the update, its gradient clipped so, to the slot beside the current one. */
export function writeUpdate(
  simd: Simd,
  state: TrainingState,
  options: UpdateOptions,
  clip: number,
  history?: UpdateHistory,
): void {
  const { layout, gradients } = state
  const from = state.current()
  const update = { ...options, gradScale: clip / options.samples }
  history?.record(update, state.gradientView())
  const all = { offset: 0, elems: layout.totalElems }
  adamwSlabs(simd, layout.slabs, all, { from, to: state.vacate(), gradients }, update)
}

export function nonFinite({ step, lr }: Pick<UpdateOptions, 'step' | 'lr'>): SkeinError {
  return new SkeinError(TrainerErrors.NONFINITE, {
    what: `the gradient of step ${step} is not finite`,
    why: 'the learning rate is too high, or a sample holds extreme values',
    todo: `lower the learning rate (now ${lr}), or resume from the last checkpoint with another seed`,
    details: { step, lr },
  })
}

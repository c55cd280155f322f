import type { StepState } from '@skein/parallel'
import type { Simd } from '@skein/simd'
import { clipOf, gradNorm, type UpdateOptions, writeUpdate } from './apply-update.ts'
import type { TrainingState } from './training-state.ts'

export interface SettledStep {
  readonly step: number
  /** Mean over the samples. */
  readonly loss: number
  /** L2 norm of the mean gradient, before clipping. */
  readonly gradNorm: number
  /** This rank's update was taken back and made again. */
  readonly isRedone: boolean
  /** The gradient was not finite: the state is that after the step before. */
  readonly isSkipped: boolean
}

type Update = Omit<UpdateOptions, 'sumSquares' | 'samples'>

/**
 * Updates that a rank makes from what it and the ranks before it know of the gradient's norm, each in doubt until the true norm is known. One that proves
 * wrong is taken back, which is a flip (ADR 0001), and made again: the gradients of the step must still be there. While it is in doubt
 * the state holds no such step, for nobody: it cannot be voted for, saved, or given away.
 */
export class UpdatesInDoubt {
  readonly #simd: Simd
  readonly #state: TrainingState
  #made: { readonly update: Update; readonly clip: number } | undefined

  constructor(simd: Simd, state: TrainingState) {
    this.#simd = simd
    this.#state = state
  }

  /** Overwrites the state before the current one. `known` is of the ranks up to this one. */
  make(update: Update, known: Pick<StepState, 'sumSquares'>, samples: number): void {
    const options = { ...update, samples, sumSquares: known.sumSquares }
    const clip = clipOf(options)
    this.#write(options, clip)
    this.#state.flip(undefined)
    this.#made = { update, clip }
  }

  /** Makes the update what it should have been. `stands`: every rank's was so before. */
  settle(truth: StepState): { readonly stands: boolean; readonly settled: SettledStep } {
    if (this.#made === undefined) throw new Error('a verdict came on an update that was not made')
    const { update, clip: used } = this.#made
    const options = { ...update, samples: truth.samples, sumSquares: truth.sumSquares }
    const clip = clipOf(options)
    const isRedone = clip !== used
    if (isRedone) {
      if (!this.#state.goBackTo(update.step - 1)) throw new Error(`the state before step ${update.step} is gone`)
      this.#write(options, clip)
      this.#state.flip(update.step)
    } else this.#state.confirm(update.step)
    this.#made = undefined
    // Who knows more clips no less: where the first rank was right, all were.
    const stands = clipOf({ ...options, sumSquares: truth.firstSquares }) === clip
    const settled: SettledStep = {
      step: update.step,
      loss: truth.lossSum / truth.samples,
      gradNorm: gradNorm(options),
      isRedone,
      isSkipped: clip === 0,
    }
    return { stands, settled }
  }

  #write(options: UpdateOptions, clip: number): void {
    if (clip > 0) writeUpdate(this.#simd, this.#state, options, clip)
    else this.#copy()
  }

  /** The step is skipped: the state after it is the one before it. */
  #copy(): void {
    const { sharedBuffer, layout } = this.#state
    const from = this.#state.current()
    const to = this.#state.vacate()
    for (const part of ['params', 'expAvg', 'expAvgSq'] as const) {
      const view = (byteOffset: number) => new Float32Array(sharedBuffer, byteOffset, layout.totalElems)
      view(to[part].byteOffset).set(view(from[part].byteOffset))
    }
  }
}

/** Sums over the samples of one step, on every rank the same. */
export interface StepGradients {
  readonly lossSum: number
  readonly samples: number
  /** Of the gradient sums of the whole model, padding and copies not counted. */
  readonly sumSquares: number
  /** Global sample numbers [from, to) that this rank worked on. */
  readonly took: readonly [number, number]
  /** In which the device computed, in ms, and in which it stood and waited for others. */
  readonly computeMs: number
  readonly waitMs: number
}

/**
 * How the ranks of a generation share the work on the samples of a step: what lies between a batch and its gradients. The update, the vote, the
 * checkpoint and all that is elastic are the same for every strategy.
 */
export interface Strategy {
  /**
   * Forward and backward of a step. Resolves when the gradient sums of all ranks, of this rank's parameters, are in `state.gradients`.
   * @throws what ended the generation, or a model's error; the gradients then hold garbage
   */
  gradients(step: number): Promise<StepGradients>
  /** Mean loss over at most `samples` held-out samples; the same bits on every rank. */
  evaluate(samples: number): Promise<number>
  liveTensors(): number
}

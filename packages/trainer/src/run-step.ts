import type { UpdateHistory } from '@skein/catchup'
import type { Clock } from '@skein/core'
import type { Dataset } from '@skein/data'
import type { Simd } from '@skein/simd'
import { applyUpdate, type UpdateOptions } from './apply-update.ts'
import type { StepReport } from './peers.ts'
import type { Strategy } from './strategy.ts'
import type { TrainingState } from './training-state.ts'

export interface StepContext {
  readonly strategy: Strategy
  readonly dataset: Dataset
  readonly state: TrainingState
  readonly simd: Simd
  readonly clock: Clock
  /** Samples of one step over all ranks. */
  readonly globalBatch: number
  /** As in `TrainContext`. */
  readonly history?: () => UpdateHistory | undefined
}

export interface StepResult extends StepReport {
  /** L2 norm of the mean gradient, before clipping. */
  readonly gradNorm: number
}

/**
 * One optimizer step: gradients as the strategy makes them, then the update on the flat buffers.
 *
 * `beforeUpdate` is awaited after the gradients are in and before anything is overwritten: the place to wait for the former step's commit.
 */
export async function runStep(
  context: StepContext,
  options: Omit<UpdateOptions, 'samples' | 'sumSquares'>,
  beforeUpdate: () => Promise<void>,
): Promise<StepResult> {
  const { strategy, dataset, state, clock, globalBatch } = context
  const { step } = options
  const startedMs = clock.now()
  const firstSample = (step - 1) * globalBatch
  const { lossSum, samples, sumSquares, took, computeMs, waitMs } = await strategy.gradients(step)
  await beforeUpdate()
  const updateMs = clock.now()
  const gradNorm = applyUpdate(context.simd, state, { ...options, samples, sumSquares }, context.history?.())
  const endedMs = clock.now()
  return {
    step,
    params: state.current().params,
    loss: lossSum / samples,
    gradNorm,
    samples: [firstSample, firstSample + globalBatch],
    took,
    tokens: globalBatch * dataset.tokensPerSample,
    stepMs: endedMs - startedMs,
    computeMs: computeMs + (endedMs - updateMs),
    waitMs,
    liveTensors: strategy.liveTensors(),
  }
}

import type { UpdateHistory } from '@skein/catchup'
import type { Clock } from '@skein/core'
import type { Dataset } from '@skein/data'
import type { TrainableModel } from '@skein/model'
import type { Simd } from '@skein/simd'
import { applyUpdate, type UpdateOptions } from './apply-update.ts'
import type { OpReport, Peers, StepReport } from './peers.ts'
import { runsOf } from './share.ts'
import { type TrainingState, tailElems } from './training-state.ts'

export interface StepContext {
  readonly model: TrainableModel
  readonly dataset: Dataset
  readonly state: TrainingState
  readonly simd: Simd
  readonly peers: Peers
  readonly clock: Clock
  /** Samples of one step over all ranks, and of one forward and backward pass. */
  readonly batch: { readonly global: number; readonly micro: number }
  /** Called when a bucket of gradients is complete on this rank and its reduction begins; for logs. */
  readonly onBucket?: (bucket: number, elems: number) => void
  /** As in `TrainContext`. */
  readonly history?: () => UpdateHistory | undefined
}

export interface StepResult extends StepReport {
  /** L2 norm of the mean gradient, before clipping. */
  readonly gradNorm: number
}

/**
 * One optimizer step: this rank's share of the global batch forward and backward, each bucket of gradients reduced as soon as
 * it is complete (while the backward pass goes on), then the update on the flat buffers.
 *
 * An uneven share weighs right: gradients are sums over samples, divided by the samples of the whole step. A rank without samples adds
 * zeros.
 *
 * Next hop of a tensor: peers.allReduce → the comm thread (docs/follow-a-tensor.md). `beforeUpdate` is awaited after the
 * gradients are in and before anything is overwritten: the place to wait for the former step's commit.
 */
export async function runStep(
  context: StepContext,
  options: Omit<UpdateOptions, 'samples'>,
  beforeUpdate: () => Promise<void>,
): Promise<StepResult> {
  const { model, dataset, state, peers, clock, batch } = context
  const { step } = options
  const startedMs = clock.now()
  const firstSample = (step - 1) * batch.global
  const [from, to] = peers.shareAt(step)
  const microbatches = runsOf(firstSample + from, firstSample + to, batch.micro)
  const gradients = state.gradientView()
  const tail = state.tailView()
  const reductions: Promise<OpReport>[] = []
  const lastBucket = model.layout.buckets.length - 1
  let lossSum = 0
  let samples = 0

  const reduce = (bucket: number) => {
    const { offset, elems } = model.layout.buckets[bucket] as { offset: number; elems: number }
    const withTail = bucket === lastBucket ? tailElems : 0
    const region = { byteOffset: state.gradients.byteOffset + offset * 4, bytes: (elems + withTail) * 4 }
    context.onBucket?.(bucket, elems + withTail)
    const reduction = peers.allReduce(region)
    // Awaited below with the others; until then a failure must not count as unhandled.
    reduction.catch(() => undefined)
    reductions.push(reduction)
  }

  const onBucketOfLast = (bucket: number) => {
    // The last bucket carries the loss and the sample count, known only when the pass has returned.
    if (bucket !== lastBucket) reduce(bucket)
  }
  for (const [index, sampleNumbers] of microbatches.entries()) {
    peers.check()
    const isLast = index === microbatches.length - 1
    const result = model.trainMicrobatch(dataset.batch('train', sampleNumbers), state.params(), gradients, {
      accumulate: index > 0,
      // Alone, or before the last microbatch, nothing is to be reduced: the backward pass runs in one piece, which is faster.
      ...(isLast && peers.worldSize > 1 ? { onBucket: onBucketOfLast } : {}),
    })
    lossSum += result.lossSum
    samples += result.samples
  }
  if (microbatches.length === 0) {
    gradients.fill(0)
    for (let bucket = 0; bucket < lastBucket && peers.worldSize > 1; bucket++) reduce(bucket)
  }
  tail.fill(0)
  tail[0] = lossSum
  tail[1] = samples
  if (peers.worldSize > 1) reduce(lastBucket)
  const computedMs = clock.now()
  await Promise.all(reductions)
  const reducedMs = clock.now()

  const reducedSamples = tail[1] as number
  const loss = (tail[0] as number) / reducedSamples
  await beforeUpdate()
  const updateMs = clock.now()
  const gradNorm = applyUpdate(context.simd, state, { ...options, samples: reducedSamples }, context.history?.())
  const endedMs = clock.now()
  return {
    step,
    params: state.current().params,
    loss,
    gradNorm,
    samples: [firstSample, firstSample + batch.global],
    took: [firstSample + from, firstSample + to],
    tokens: batch.global * dataset.tokensPerSample,
    stepMs: endedMs - startedMs,
    computeMs: computedMs - startedMs + (endedMs - updateMs),
    waitMs: reducedMs - computedMs,
    liveTensors: model.ledger().liveTensors,
  }
}

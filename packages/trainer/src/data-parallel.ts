import type { Clock } from '@skein/core'
import type { Dataset } from '@skein/data'
import type { TrainableModel } from '@skein/model'
import type { Simd } from '@skein/simd'
import { evaluationSamples } from './evaluation-samples.ts'
import type { OpReport, Peers } from './peers.ts'
import { runsOf } from './share.ts'
import type { StepGradients, Strategy } from './strategy.ts'
import { type TrainingState, tailElems } from './training-state.ts'

export interface DataParallelOptions {
  readonly model: TrainableModel
  readonly dataset: Dataset
  readonly state: TrainingState
  readonly simd: Simd
  readonly peers: Peers
  readonly clock: Clock
  /** Samples of one step over all ranks, and of one forward and backward pass. */
  readonly batch: { readonly global: number; readonly micro: number }
  /** Called when a bucket of gradients is complete on this rank and its reduction begins; for logs. */
  readonly onBucket?: (step: number, bucket: number, elems: number) => void
}

/**
 * Every rank has the whole model and takes its share of the samples; each bucket of gradients is reduced as soon as it is complete, while the
 * backward pass goes on.
 *
 * An uneven share weighs right: gradients are sums over samples, divided by the samples of the whole step. A rank without samples adds
 * zeros. Next hop of a tensor: peers.allReduce → the comm thread (docs/follow-a-tensor.md).
 */
export class DataParallel implements Strategy {
  readonly #options: DataParallelOptions

  constructor(options: DataParallelOptions) {
    this.#options = options
  }

  async gradients(step: number): Promise<StepGradients> {
    const { model, dataset, state, simd, peers, clock, batch, onBucket } = this.#options
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
      onBucket?.(step, bucket, elems + withTail)
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
    return {
      lossSum: tail[0] as number,
      samples: tail[1] as number,
      sumSquares: simd.sumSquares(state.gradients.byteOffset, model.layout.totalElems),
      took: [firstSample + from, firstSample + to],
      computeMs: computedMs - startedMs,
      waitMs: reducedMs - computedMs,
    }
  }

  /** Shared among the ranks microbatch by microbatch. */
  async evaluate(wanted: number): Promise<number> {
    const { model, dataset, state, peers, batch } = this.#options
    const count = evaluationSamples(wanted, dataset.numValSamples, batch.micro)
    let lossSum = 0
    let samples = 0
    for (const [index, numbers] of runsOf(0, count, batch.micro).entries()) {
      if (index % peers.worldSize !== peers.rank) continue
      peers.check()
      const result = model.evaluate(dataset.batch('val', numbers), state.params())
      lossSum += result.lossSum
      samples += result.samples
    }
    const scalars = new Float32Array(state.sharedBuffer, state.scalars.byteOffset, 2)
    scalars[0] = lossSum
    scalars[1] = samples
    if (peers.worldSize > 1) await peers.allReduce({ byteOffset: state.scalars.byteOffset, bytes: state.scalars.bytes })
    return (scalars[0] as number) / (scalars[1] as number)
  }

  liveTensors(): number {
    return this.#options.model.ledger().liveTensors
  }
}

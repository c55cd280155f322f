import type { LedgerReading } from '@skein/device'
import type { FlatLayout } from './flat-layout.ts'

/** Samples of one pass; the same shape as @skein/data's. Text: `inputs` and `targets`, int32 [samples, tokens]. */
export interface Batch {
  readonly samples: number
  readonly arrays: Readonly<
    Record<string, { readonly data: Float32Array | Int32Array; readonly shape: readonly number[] }>
  >
}

/** Losses are sums over samples of each sample's mean loss, so that any division of a batch adds up to the same. */
export interface LossSum {
  readonly lossSum: number
  readonly samples: number
}

export interface MicrobatchOptions {
  /** Adds to the gradients that are there instead of storing. */
  readonly accumulate: boolean
  /**
   * Called with the index of each bucket of the layout as soon as its gradients are complete, in the layout's order. When given,
   * the backward pass runs segment by segment; otherwise in one piece, which is faster.
   */
  readonly onBucket?: (bucket: number) => void
}

/**
 * What the trainer trains. Parameters and gradients are flat float32 buffers of the layout, owned by the caller and borrowed for a
 * call. Synchronous: a call blocks its thread until the device is done.
 */
export interface TrainableModel {
  readonly layout: FlatLayout
  /** Writes the first parameters; the same bits for the same seed on every machine, unless `initialIsRandom`. */
  initialise(params: Float32Array, seed: number): void
  /** True where first weights come from the user's own code: one rank's must be sent to the others. */
  readonly initialIsRandom: boolean
  /** Forward and backward of one microbatch: gradient sums of `lossSum` go into `grads`. */
  trainMicrobatch(batch: Batch, params: Float32Array, grads: Float32Array, options: MicrobatchOptions): LossSum
  evaluate(batch: Batch, params: Float32Array): LossSum
  ledger(): LedgerReading
  dispose(): void
}

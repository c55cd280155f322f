import type { FlatLayout } from './flat-layout.ts'
import type { Batch, LossSum } from './trainable-model.ts'

/** A microbatch on its way through the stages, or a slice of its sequence. Slices count from 0; without slices it is 0. */
export interface Piece {
  readonly microbatch: number
  readonly slice: number
}

/** An activation between two stages, or its gradient, where the stage that made it put it. Whoever holds it releases it, once. */
export interface StageTensor {
  /** float32 elements. */
  readonly elems: number
  copyTo(out: Float32Array): void
  release(): void
}

/**
 * What a forward pass leaves behind: all that the backward passes need, only the stage's input (for `recompute`), or nothing (an
 * evaluation: the piece is done). Whatever it is, a slice's keys and values stay for the slices behind it until its own backward pass (of an
 * evaluation, until the last slice).
 */
export type Keeps = 'activations' | 'input' | 'nothing'

/** What a stage computes with in a step; borrowed until the next `begin`. */
export interface StageStep {
  /** Samples of a microbatch, asked for by the first and the last stage only; the same object whenever it is asked for. */
  batch(microbatch: number): Batch
  /** float32 [layout.totalElems] of the rank's layout. Not written while a piece that went forward with it has its backward before it. */
  readonly params: Float32Array
  /** float32 [layout.totalElems]; every weight gradient is added, so it is zero before the first one of a step. */
  readonly gradients: Float32Array
}

/**
 * A piece of a model, as a schedule's ops run it. Synchronous: a call blocks its thread until the device is done. Pieces are
 * forward → inputGrad → weightGrad, or forward → backward, each once; several are in flight in any order that a schedule allows
 * (slices of one microbatch: forward rising, backward falling).
 *
 * Tensors given are taken over, those returned are the caller's. The first stage takes and returns none at its lower side, the last
 * none at its upper side: it makes the loss.
 */
export interface PipelineStage {
  readonly stage: number
  /** float32 elements of what it takes from the stage before it (0 in the first), and gives to the stage after it (0 in the last). */
  inputElems(slice: number): number
  outputElems(slice: number): number
  /** Of an activation, or the gradient of one, that came in a message: a copy of `values`, in the shape this stage takes. */
  fromValues(values: Float32Array, kind: 'activation' | 'gradient', slice: number): StageTensor

  begin(step: StageStep): void
  /** F */
  forward(piece: Piece, x: StageTensor | undefined, keeps: Keeps): StageTensor | undefined
  /** B: the gradient of the input. */
  inputGrad(piece: Piece, dy: StageTensor | undefined): StageTensor | undefined
  /** W: adds the gradients of the parameters and forgets the piece. */
  weightGrad(piece: Piece): void
  /** B and W in one, which is faster. */
  backward(piece: Piece, dy: StageTensor | undefined): StageTensor | undefined
  /** R: the activations again, of a piece that kept its input. */
  recompute(piece: Piece): void
  /**
   * Moves `share` (above 0, to 1) of what the piece keeps to the host, by bytes, whole tensors; and back. Not what other slices read: keys and
   * values stay.
   */
  offload(piece: Piece, share: number): void
  reload(piece: Piece): void

  /** The losses of all pieces since `begin`, added in the order of their numbers; zero where the stage is not the last. */
  loss(): LossSum
  /** Bytes on the device that pieces in flight keep. */
  heldBytes(): number
  /** Drops every piece in flight: the step is abandoned. */
  reset(): void
}

/** What one rank holds of a model that is cut in stages. */
export interface PipelineModel {
  /** Of the whole pipe. */
  readonly numStages: number
  /**
   * Of this rank's parameters: one bucket a stage (`segment` is its number), the last stage first; a parameter that several stages of the pipe
   * share has a bucket of its own, behind them, whose `segment` is below 0.
   */
  readonly layout: FlatLayout
  /** This rank's, by number. */
  readonly stages: ReadonlyMap<number, PipelineStage>
  /** Which stages of the pipe have this parameter: more than one where it is tied. */
  stagesOf(parameter: string): readonly number[]
  /** As in `TrainableModel`; a parameter gets the same bits whichever stages are here. */
  initialise(params: Float32Array, seed: number): void
  readonly initialIsRandom: boolean
  dispose(): void
}

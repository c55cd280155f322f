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

  /**
   * The losses of all pieces since `begin`, added in the order of their numbers. A stage that is not the last has no samples, and no loss but what its
   * layers' regularisers add: the loss is the sum over all stages.
   */
  loss(): LossSum
  /** Bytes on the device that pieces in flight keep. */
  heldBytes(): number
  /** Drops every piece in flight: the step is abandoned. */
  reset(): void
}

/**
 * A rank's part of a vocabulary that is dealt out over all ranks of a pipe: its passes, each of a whole microbatch, once, in the order E, S, T, G.
 * The first stage then takes the sum of what all parts looked up and gives the gradient of that, the last one gives what logits are made of and takes its
 * gradient, the sum of what all parts made. All of these tensors have `elems` elements. Synchronous, like a stage.
 */
export interface VocabularyPart {
  readonly elems: number
  /** float32 that a part finds of a microbatch's logits. The parts' one after another are what T takes. */
  readonly foundElems: number
  fromValues(values: Float32Array): StageTensor

  begin(step: StageStep): void
  /** E: what is looked up here, zero where a token is another part's. */
  lookUp(microbatch: number): StageTensor
  /** S: takes `y` over, writes what it found of its logits. Keeps what T needs, unless it is an evaluation. */
  logits(microbatch: number, y: StageTensor, found: Float32Array, keeps: 'activations' | 'nothing'): void
  /** The loss of the microbatch, from what all parts found: added to `loss`. */
  addLoss(microbatch: number, foundByAll: Float32Array): void
  /** T, first half: this part of the gradient of y. */
  inputGrad(microbatch: number, foundByAll: Float32Array): StageTensor
  /** T, second half: adds the gradient of the rows here; forgets the microbatch. */
  weightGrad(microbatch: number): void
  /** G: adds the gradient of the look-up; takes `dx` over. */
  lookUpGrad(microbatch: number, dx: StageTensor): void

  /** The same on all ranks: it counts on one of them. */
  loss(): LossSum
  heldBytes(): number
  reset(): void
}

/**
 * The part of a model in front of the first stage that is not trained: every rank has all of it, and runs it on pieces of the samples, each layer a pass, in
 * their order. Synchronous, like a stage.
 */
export interface FrozenPart {
  /** float32 that the last layer gives of a piece. */
  readonly outputElems: number
  /** Pieces of other samples from here on; `batch` is asked for those that are run here. */
  begin(batch: (piece: number) => Batch): void
  /** The last layer returns what the piece comes to, which is the caller's. */
  run(layer: number, piece: number): StageTensor | undefined
  heldBytes(): number
  /** Drops every piece under way. */
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
  /** Its part of the vocabulary, where that is dealt out over all ranks. */
  readonly vocabulary?: VocabularyPart | undefined
  /**
   * Which stages of the pipe have this parameter: more than one where it is tied. Of a parameter of the vocabulary's part, the stages of this rank: its
   * gradient is there when theirs are, and who has a copy of them has one of it.
   */
  stagesOf(parameter: string): readonly number[]
  /** As in `TrainableModel`; a parameter gets the same bits whichever stages are here. */
  initialise(params: Float32Array, seed: number): void
  readonly initialIsRandom: boolean
  dispose(): void
}

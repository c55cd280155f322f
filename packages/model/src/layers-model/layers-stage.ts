import { numElements, type Shape, SkeinError } from '@skein/core'
import type { Tfjs } from '@skein/device'
import { ModelErrors } from '../errors.ts'
import type { FlatLayout } from '../flat-layout.ts'
import { KeptTensors } from '../kept-tensors.ts'
import { LossTally } from '../loss-tally.ts'
import { type PieceInFlight, PiecesInFlight } from '../pieces-in-flight.ts'
import type { Keeps, Piece, PipelineStage, StageStep, StageTensor } from '../pipeline-stage.ts'
import { outOfOrder } from '../stage-order.ts'
import type { Batch, LossSum } from '../trainable-model.ts'
import { inputNamed, type Loss, lossSumOf, tensorsOf } from './loss.ts'
import { penaltySum } from './penalty.ts'
import { type Tensor, takeTensor, tensorOver, TfStageTensor, tfHolder } from './tf-stage-tensor.ts'
import { FlatWeights, type TfLayer, type Weight } from './weights.ts'

type Tensors = Readonly<Record<string, Tensor>>

interface InFlight extends PieceInFlight<Tensor> {
  /** Whose parameters it went forward with. */
  readonly step: StageStep
}

export interface LayersStageOptions {
  readonly tf: Tfjs
  readonly stage: number
  readonly layers: readonly TfLayer[]
  /** Theirs, by the names that they have in the layout. */
  readonly weights: ReadonlyMap<string, Weight>
  readonly layout: FlatLayout
  /** Of each microbatch. */
  readonly samples: number
  readonly loss: Loss
  /** Of the first stage: the array of the batch that is the model's input. */
  readonly input?: string
  /** Of all others, samples included. */
  readonly inputShape?: Shape
  /** Of all but the last, samples included. */
  readonly outputShape?: Shape
}

/**
 * A run of a tf.LayersModel's layers, differentiated by tfjs. A tape of tfjs lives within one call, so what a piece keeps after F is its input, and B
 * and BW run the layers again. B makes the gradients of the weights along with that of the input, and keeps them: W has only to add them. So B and
 * BW cost F, B and W of a stage with passes of its own, W next to nothing, R nothing; and B keeps as many bytes as the stage has weights.
 */
export class LayersStage implements PipelineStage {
  readonly stage: number
  readonly #options: LayersStageOptions
  readonly #weights: FlatWeights
  readonly #pieces: PiecesInFlight<Tensor, InFlight>
  readonly #losses = new LossTally()
  #step: StageStep | undefined
  /** Whose parameters the layers have now. */
  #assigned: StageStep | undefined
  #isChecked = false

  constructor(options: LayersStageOptions) {
    this.stage = options.stage
    this.#options = options
    this.#pieces = new PiecesInFlight(options.stage)
    this.#weights = new FlatWeights(options.tf, options.layout, options.weights)
  }

  /** The weights that its layers were built with. */
  copyWeightsTo(params: Float32Array): void {
    this.#weights.copyTo(params)
  }

  inputElems(): number {
    const { inputShape } = this.#options
    return inputShape === undefined ? 0 : numElements(inputShape)
  }

  outputElems(): number {
    const { outputShape } = this.#options
    return outputShape === undefined ? 0 : numElements(outputShape)
  }

  fromValues(values: Float32Array, kind: 'activation' | 'gradient'): StageTensor {
    const { tf, inputShape, outputShape } = this.#options
    const shape = (kind === 'activation' ? inputShape : outputShape) ?? []
    return new TfStageTensor(tensorOver(tf, values.slice(), shape))
  }

  begin(step: StageStep): void {
    this.#step = step
    this.#assigned = undefined
    this.#losses.clear()
  }

  forward(piece: Piece, x: StageTensor | undefined, keeps: Keeps): StageTensor | undefined {
    const { tf, outputShape } = this.#options
    this.#pieces.refuseAgain(piece)
    if (piece.slice !== 0) throw this.#order('forward', piece, 'a tf.LayersModel has its sequence in one slice')
    const step = this.#begun()
    const kept = new KeptTensors<Tensor>(tfHolder(tf))
    kept.add(this.#take('forward', piece, 'x', x))
    try {
      if (this.#readsBatch) kept.add(this.#arrays(step.batch(piece.microbatch)))
      this.#assign(step)
      if (keeps !== 'nothing') this.#checkOnce(kept.byName)
      const { result, penalty } = tf.tidy(() => this.#run(kept.byName, keeps !== 'nothing'))
      if (keeps === 'nothing') kept.release()
      else this.#pieces.add(piece, { kept, step, awaits: keeps === 'input' ? 'recompute' : 'inputGrad' })
      const loss = [penalty, ...(outputShape === undefined ? [result] : [])].filter(term => term !== undefined)
      if (loss.length > 0)
        this.#losses.add(
          piece,
          loss.reduce((sum, term) => sum + (term.dataSync()[0] as number), 0),
        )
      tf.dispose(loss)
      return outputShape === undefined ? undefined : new TfStageTensor(result)
    } catch (cause) {
      kept.release()
      throw cause
    }
  }

  /** Its activations are made again by whatever pass comes next, in any case. */
  recompute(piece: Piece): void {
    this.#pieces.at('recompute', piece, 'recompute').awaits = 'inputGrad'
  }

  inputGrad(piece: Piece, dy: StageTensor | undefined): StageTensor | undefined {
    const flight = this.#pieces.at('inputGrad', piece, 'inputGrad')
    const { dx, gradients } = this.#gradients('inputGrad', piece, flight, dy)
    flight.kept.release()
    flight.kept.add(gradients)
    flight.awaits = 'weightGrad'
    return dx && new TfStageTensor(dx)
  }

  weightGrad(piece: Piece): void {
    const { kept } = this.#pieces.at('weightGrad', piece, 'weightGrad')
    this.#weights.readGradients(kept.byName, this.#begun().gradients, true)
    this.#pieces.finish(piece)
  }

  backward(piece: Piece, dy: StageTensor | undefined): StageTensor | undefined {
    const flight = this.#pieces.at('backward', piece, 'inputGrad')
    const { dx, gradients } = this.#gradients('backward', piece, flight, dy)
    this.#weights.readGradients(gradients, this.#begun().gradients, true)
    this.#options.tf.dispose(gradients)
    this.#pieces.finish(piece)
    return dx && new TfStageTensor(dx)
  }

  offload(piece: Piece, share: number): void {
    this.#pieces.at('offload', piece).kept.offload(share)
  }

  reload(piece: Piece): void {
    this.#pieces.reload(piece)
  }

  loss(): LossSum {
    const { outputShape, samples } = this.#options
    return this.#losses.sum(outputShape === undefined ? samples : 0)
  }

  heldBytes(): number {
    return this.#pieces.bytes()
  }

  reset(): void {
    this.#pieces.clear()
    this.#losses.clear()
  }

  dispose(): void {
    this.reset()
    this.#step = undefined
    this.#assigned = undefined
    this.#weights.dispose()
  }

  /** `y`, or in the last stage the loss sum, and what the layers' regularisers add to that. For within a tidy, or under a tape. */
  #run(given: Tensors, training: boolean): { readonly result: Tensor; readonly penalty: Tensor | undefined } {
    const { tf, layers, outputShape, loss, samples } = this.#options
    let x = this.#input(given)
    for (const layer of layers) x = layer.apply(x, { training }) as Tensor
    const penalty = training ? penaltySum(tf, layers, samples) : undefined
    if (outputShape !== undefined) return { result: x, penalty }
    const lossSum = lossSumOf(loss, { tf, output: x, outputs: [x], arrays: arraysAmong(given) }, samples)
    return { result: lossSum, penalty }
  }

  /** What B differentiates: a scalar whose gradient by `y` is `dy`, the regularisers' part included. */
  #objective(given: Tensors, dy: Tensor | undefined): Tensor {
    const { result, penalty } = this.#run(given, true)
    const objective = dy === undefined ? result : result.mul(dy).sum()
    return penalty === undefined ? objective : objective.add(penalty)
  }

  #input(given: Tensors): Tensor {
    const { input } = this.#options
    return input === undefined ? (given['x'] as Tensor) : inputNamed(input, arraysAmong(given))
  }

  /** dx, where there is one, and the weights' gradients by their names. */
  #gradients(pass: string, piece: Piece, { kept, step }: InFlight, dy: StageTensor | undefined) {
    const { tf } = this.#options
    const taken = this.#take(pass, piece, 'dy', dy)
    this.#assign(step)
    const { names, variables } = this.#weights
    const { x } = kept.byName
    const of: Tensor[] = x === undefined ? variables : [x, ...variables]
    try {
      // With nothing to differentiate, a stage is done.
      if (of.length === 0) return { dx: undefined, gradients: {} }
      return tf.tidy(() => {
        // Some may have none: a layer need not use all of its weights.
        const allowNone = true
        const objective = () => this.#objective(kept.byName, taken['dy'])
        const { grads } = tf.engine().gradients(objective, of, undefined, allowNone)
        const found = grads as readonly (Tensor | undefined)[]
        const ofWeights = names.map((name, i) => [name, found[of.length - names.length + i]] as const)
        return {
          dx: x && (found[0] ?? tf.zerosLike(x)),
          gradients: Object.fromEntries(ofWeights.filter((entry): entry is [string, Tensor] => entry[1] !== undefined)),
        }
      })
    } finally {
      tf.dispose(taken)
    }
  }

  #assign(step: StageStep): void {
    if (this.#assigned === step) return
    this.#weights.assign(step.params)
    this.#assigned = step
  }

  get #readsBatch(): boolean {
    return this.#options.input !== undefined || this.#options.outputShape === undefined
  }

  /** All arrays of the batch for the last stage, whose loss may read any; the input for the first. */
  #arrays(batch: Batch): Tensors {
    const { tf, input, outputShape, samples } = this.#options
    if (batch.samples !== samples) throw wrongSamples(batch.samples, samples)
    const own = batch.arrays[input ?? '']
    const arrays = outputShape === undefined || own === undefined ? batch.arrays : { [input ?? '']: own }
    const tensors = tensorsOf(tf, { samples, arrays }, true)
    return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [`${arrayPrefix}${name}`, tensor]))
  }

  /** `given` under `name`, unless this stage takes nothing on that side. Takes it over. */
  #take(pass: string, piece: Piece, name: 'x' | 'dy', given: StageTensor | undefined): Tensors {
    const { tf, inputShape, outputShape } = this.#options
    const elems = name === 'x' ? this.inputElems() : this.outputElems()
    if ((given?.elems ?? 0) === elems) {
      const shape = (name === 'x' ? inputShape : outputShape) ?? []
      return given === undefined ? {} : { [name]: takeTensor(tf, given, shape) }
    }
    given?.release()
    throw this.#order(pass, piece, `it takes ${name} of ${elems} elements, and got ${given?.elems ?? 0}`)
  }

  /**
   * Whether the layers give the same twice, once, before anything is trained: where they do not, B would differentiate something else than what went
   * forward. @throws SKEIN_MODEL_RANDOM_LAYER
   */
  #checkOnce(given: Tensors): void {
    if (this.#isChecked) return
    const { tf, layers } = this.#options
    tf.tidy(() => {
      let x = this.#input(given)
      for (const layer of layers) {
        const [y, again] = [0, 1].map(() => layer.apply(x, { training: true }) as Tensor) as [Tensor, Tensor]
        const values = y.dataSync()
        if (again.dataSync().some((value, i) => !Object.is(value, values[i]))) throw randomLayer(layer)
        x = y
      }
    })
    this.#isChecked = true
  }

  #begun(): StageStep {
    if (this.#step !== undefined) return this.#step
    throw new SkeinError(ModelErrors.STAGE_ORDER, {
      what: `stage ${this.stage} was asked for a pass before its first step began`,
      todo: 'call begin first',
    })
  }

  #order(pass: string, piece: Piece, why: string): SkeinError {
    return outOfOrder(pass, this.stage, piece, why)
  }
}

const arrayPrefix = 'array/'

function arraysAmong(given: Tensors): Tensors {
  return Object.fromEntries(
    Object.entries(given)
      .filter(([name]) => name.startsWith(arrayPrefix))
      .map(([name, tensor]) => [name.slice(arrayPrefix.length), tensor]),
  )
}

function wrongSamples(found: number, samples: number): SkeinError {
  return new SkeinError(ModelErrors.BATCH, {
    what: `a stage for microbatches of ${samples} samples was given ${found}`,
    why: 'its shapes, and those of the messages between stages, are fixed',
    todo: 'give microbatches of one size',
    details: { found, samples },
  })
}

function randomLayer(layer: TfLayer): SkeinError {
  return new SkeinError(ModelErrors.RANDOM_LAYER, {
    what: `the layer ${layer.name} (${layer.getClassName()}) gives something else each time`,
    why: 'it draws random numbers or keeps a state, and its stage runs it again for the gradients, which would not be those of what went forward',
    todo: 'leave it out, set its rate to 0, or train with mesh.pp 1',
    details: { layer: layer.name },
  })
}

import { numElements, SkeinError, type Shape } from '@skein/core'
import { type DeviceTensor, type KernelDevice, type Pass, releaseAll, type TensorSpec } from '@skein/device'
import { copyToDevice, DeviceStageTensor, takeToDevice } from '../device-stage-tensor.ts'
import { ModelErrors } from '../errors.ts'
import type { FlatLayout } from '../flat-layout.ts'
import { KeptTensors } from '../kept-tensors.ts'
import { LossTally } from '../loss-tally.ts'
import type { Keeps, Piece, PipelineStage, StageStep, StageTensor } from '../pipeline-stage.ts'
import { type PieceInFlight, PiecesInFlight } from '../pieces-in-flight.ts'
import { SharedTensors } from '../shared-tensors.ts'
import { outOfOrder } from '../stage-order.ts'
import type { LossSum } from '../trainable-model.ts'
import { checkTokens } from './check-batch.ts'
import type { Gpt2Config, SegmentRange } from './config.ts'
import { readGradients, segmentParamNames, uploadParams } from './flat-tensors.ts'
import {
  type PassSizes,
  segmentBackward,
  segmentForward,
  segmentInputGrad,
  segmentOutput,
  segmentWeightGrad,
} from './segment-passes.ts'
import { SlicedMicrobatch } from './sliced-microbatch.ts'
import { sliceSizes } from './slices.ts'

type Tensors = Readonly<Record<string, DeviceTensor>>

const passFunctions = {
  forward: segmentForward,
  /** Forward of an evaluation. */
  output: segmentOutput,
  inputGrad: segmentInputGrad,
  weightGrad: segmentWeightGrad,
  backward: segmentBackward,
} as const
type PassName = keyof typeof passFunctions

interface InFlight extends PieceInFlight<DeviceTensor> {
  /** Those that it went forward with, until its inputGrad is done. */
  params: SharedTensors | undefined
}

export interface Gpt2StageOptions {
  readonly device: KernelDevice
  readonly layout: FlatLayout
  readonly config: Gpt2Config
  readonly range: SegmentRange
  /** Of each microbatch. */
  readonly samples: number
  /** Tokens of each slice of the sequence. Default: one slice, the context. */
  readonly slices?: readonly number[]
}

/** A run of a GPT-2's units on one device. Passes are compiled at their first use. */
export class Gpt2Stage implements PipelineStage {
  readonly stage: number
  readonly range: SegmentRange
  readonly #device: KernelDevice
  readonly #layout: FlatLayout
  /** By slice. */
  readonly #sizes: readonly PassSizes[]
  readonly #samples: number
  readonly #paramNames: readonly string[]
  readonly #passes = new Map<string, Pass>()
  readonly #pieces: PiecesInFlight<DeviceTensor, InFlight>
  /** Where the sequence is sliced: microbatches whose slices have passes before them that read one another. */
  readonly #sliced = new Map<number, SlicedMicrobatch>()
  readonly #losses = new LossTally()
  #step: StageStep | undefined
  #params: SharedTensors | undefined

  constructor({ device, layout, config, range, samples, slices = [config.context] }: Gpt2StageOptions) {
    this.stage = range.index
    this.#pieces = new PiecesInFlight(range.index)
    this.range = range
    this.#device = device
    this.#layout = layout
    this.#sizes = sliceSizes(config, samples, slices)
    this.#samples = samples
    this.#paramNames = segmentParamNames(config, range)
  }

  inputElems(slice: number): number {
    return this.range.isFirst ? 0 : numElements(this.#boundary(slice))
  }

  outputElems(slice: number): number {
    return this.range.isLast ? 0 : numElements(this.#boundary(slice))
  }

  fromValues(values: Float32Array, _kind: 'activation' | 'gradient', slice: number): StageTensor {
    return copyToDevice(this.#device, values, this.#boundary(slice))
  }

  begin(step: StageStep): void {
    this.#dropParams()
    this.#losses.clear()
    this.#step = step
  }

  forward(piece: Piece, x: StageTensor | undefined, keeps: Keeps): StageTensor | undefined {
    this.#pieces.refuseAgain(piece)
    const sliced = this.#slicedForward(piece)
    const kept = new KeptTensors<DeviceTensor>(this.#device)
    kept.add(this.#take('forward', piece, 'x', x))
    try {
      kept.add(this.#tokens(piece))
      const params = this.#sharedParams()
      const { y, lossSum, ...saved } = this.#run(keeps === 'nothing' ? 'output' : 'forward', piece, {
        ...params.byName,
        ...kept.byName,
        ...sliced?.earlier(piece.slice),
      })
      if (lossSum !== undefined) this.#losses.add(piece, this.#scalar(lossSum))
      const own = sliced?.wentForward(piece.slice, saved) ?? saved
      if (keeps === 'nothing') {
        kept.release()
        if (piece.slice === this.#lastSlice) this.#forgetSlices(piece)
      } else {
        if (keeps === 'activations') this.#keepActivations(kept, own)
        else releaseAll(own)
        const awaits = keeps === 'activations' ? 'inputGrad' : 'recompute'
        this.#pieces.add(piece, { kept, params: params.retain(), awaits })
      }
      return y && new DeviceStageTensor(y)
    } catch (cause) {
      kept.release()
      throw cause
    }
  }

  recompute(piece: Piece): void {
    const flight = this.#pieces.at('recompute', piece, 'recompute')
    const sliced = this.#sliced.get(piece.microbatch)
    const { y, lossSum, ...saved } = this.#run('forward', piece, {
      ...flight.params?.byName,
      ...flight.kept.byName,
      ...sliced?.earlier(piece.slice),
    })
    for (const output of [y, lossSum]) if (output !== undefined) this.#device.release(output)
    this.#keepActivations(flight.kept, sliced?.wentForward(piece.slice, saved) ?? saved)
    flight.awaits = 'inputGrad'
  }

  inputGrad(piece: Piece, dy: StageTensor | undefined): StageTensor | undefined {
    const flight = this.#pieces.at('inputGrad', piece, 'inputGrad')
    const { dx, inner } = this.#fromGradient('inputGrad', piece, flight, dy)
    const { isFirst, hasPositions = false } = this.range
    const own =
      isFirst || hasPositions ? { dx: isFirst ? (dx as DeviceTensor) : this.#device.retain(dx as DeviceTensor) } : {}
    flight.kept.add({ ...inner, ...own })
    const { reads } = this.#pass('weightGrad', piece, flight.kept.byName)
    flight.kept.keepOnly(new Set(reads))
    dropParams(flight)
    flight.awaits = 'weightGrad'
    return this.range.isFirst ? undefined : new DeviceStageTensor(dx as DeviceTensor)
  }

  weightGrad(piece: Piece): void {
    const flight = this.#pieces.at('weightGrad', piece, 'weightGrad')
    this.#addGradients(this.#run('weightGrad', piece, flight.kept.byName))
    this.#pieces.finish(piece)
  }

  backward(piece: Piece, dy: StageTensor | undefined): StageTensor | undefined {
    const flight = this.#pieces.at('backward', piece, 'inputGrad')
    const { dx, inner: gradients } = this.#fromGradient('backward', piece, flight, dy)
    this.#addGradients(gradients)
    dropParams(flight)
    this.#pieces.finish(piece)
    return dx && new DeviceStageTensor(dx)
  }

  offload(piece: Piece, share: number): void {
    this.#pieces.at('offload', piece).kept.offload(share)
  }

  reload(piece: Piece): void {
    this.#pieces.reload(piece)
  }

  loss(): LossSum {
    return this.#losses.sum(this.#samples)
  }

  heldBytes(): number {
    return [...this.#sliced.values()].reduce((sum, sliced) => sum + sliced.bytes(), this.#pieces.bytes())
  }

  reset(): void {
    for (const { params } of this.#pieces.clear()) params?.release()
    for (const sliced of this.#sliced.values()) sliced.release()
    this.#sliced.clear()
    this.#losses.clear()
    this.#dropParams()
  }

  dispose(): void {
    this.reset()
    for (const pass of this.#passes.values()) pass.dispose()
    this.#passes.clear()
    this.#step = undefined
  }

  get #lastSlice(): number {
    return this.#sizes.length - 1
  }

  #sizesOf(slice: number): PassSizes {
    const sizes = this.#sizes[slice]
    if (sizes !== undefined) return sizes
    throw new SkeinError(ModelErrors.STAGE_ORDER, {
      what: `stage ${this.stage} was asked for slice ${slice} of a sequence in ${this.#sizes.length}`,
      todo: 'let the schedule have as many slices as the model',
      details: { stage: this.stage, slice, numSlices: this.#sizes.length },
    })
  }

  /** [N,D] */
  #boundary(slice: number): Shape {
    const { samples, tokens, width } = this.#sizesOf(slice)
    return [samples * tokens, width]
  }

  /** Uploaded at their first use in a step; pieces in flight keep those that they went forward with. */
  #sharedParams(): SharedTensors {
    this.#params ??= new SharedTensors(uploadParams(this.#device, this.#layout, this.#paramNames, this.#begun().params))
    return this.#params
  }

  #dropParams(): void {
    this.#params?.release()
    this.#params = undefined
  }

  #begun(): StageStep {
    if (this.#step !== undefined) return this.#step
    throw new SkeinError(ModelErrors.STAGE_ORDER, {
      what: `stage ${this.stage} was asked for a pass before its first step began`,
      todo: 'call begin first',
    })
  }

  /** `ids` for the first stage, `targets` for the last, int32 [N]. */
  #tokens({ microbatch, slice }: Piece): Tensors {
    const { isFirst, isLast } = this.range
    if (!isFirst && !isLast) return {}
    const batch = this.#begun().batch(microbatch)
    const { samples, context, start = 0, tokens } = this.#sizesOf(slice)
    const arrays = { ...(isFirst && { ids: 'inputs' }), ...(isLast && { targets: 'targets' }) }
    checkTokens({ ...batch, samples }, Object.values(arrays), context)
    return Object.fromEntries(
      Object.entries(arrays).map(([name, array]) => {
        const data = batch.arrays[array]?.data as Int32Array
        // A copy: the batch is borrowed for the step, a piece may be in flight for longer.
        const own = new Int32Array(samples * tokens)
        for (let sample = 0; sample < samples; sample++) {
          const from = sample * context + start
          own.set(data.subarray(from, from + tokens), sample * tokens)
        }
        return [name, this.#device.upload(own, [own.length])]
      }),
    )
  }

  /** `given` under `name`, unless this stage takes nothing on that side. Takes it over. */
  #take(pass: string, piece: Piece, name: 'x' | 'dy', given: StageTensor | undefined): Tensors {
    const elems = name === 'x' ? this.inputElems(piece.slice) : this.outputElems(piece.slice)
    if ((given?.elems ?? 0) === elems) {
      return given === undefined ? {} : { [name]: takeToDevice(this.#device, given, this.#boundary(piece.slice)) }
    }
    const found = given === undefined ? 'none was given' : `one of ${given.elems} elements was given`
    given?.release()
    throw this.#order(
      pass,
      piece,
      `it takes ${elems === 0 ? `no ${name}` : `${name} of ${elems} elements`}, and ${found}`,
    )
  }

  /** Of the inputs only the ids are read again, by the embedding's weight gradient. */
  #keepActivations(kept: KeptTensors<DeviceTensor>, saved: Tensors): void {
    kept.keepOnly(new Set(this.range.isFirst ? ['ids'] : []))
    kept.add(saved)
  }

  /** Runs B or BW. */
  #fromGradient(name: 'inputGrad' | 'backward', piece: Piece, { params, kept }: InFlight, dy: StageTensor | undefined) {
    const sliced = this.#sliced.get(piece.microbatch)
    if (sliced !== undefined && sliced.nextBackward !== piece.slice) {
      throw this.#order(name, piece, `slice ${sliced.nextBackward} has to go backward before it`)
    }
    const taken = this.#take(name, piece, 'dy', dy)
    try {
      const { dx, ...out } = this.#run(name, piece, {
        ...params?.byName,
        ...kept.byName,
        ...taken,
        ...sliced?.earlier(piece.slice),
        ...sliced?.forBackward(piece.slice),
      })
      const inner = sliced?.wentBackward(piece.slice, out) ?? out
      if (piece.slice === 0) this.#forgetSlices(piece)
      return { dx, inner }
    } finally {
      releaseAll(taken)
    }
  }

  /** The slices of the microbatch, where there are several: the next to go forward has to be this one. */
  #slicedForward(piece: Piece): SlicedMicrobatch | undefined {
    const { microbatch, slice } = piece
    // Also refuses a slice that there is not.
    const { context, tokens } = this.#sizesOf(slice)
    if (tokens === context) return undefined
    const sliced = this.#sliced.get(microbatch) ?? new SlicedMicrobatch(this.#sizes.length)
    if (sliced.nextForward !== slice) {
      throw this.#order('forward', piece, `slice ${sliced.nextForward} has to go forward before it`)
    }
    this.#sliced.set(microbatch, sliced)
    return sliced
  }

  #forgetSlices({ microbatch }: Piece): void {
    this.#sliced.get(microbatch)?.release()
    this.#sliced.delete(microbatch)
  }

  #run(name: PassName, piece: Piece, tensors: Tensors): Record<string, DeviceTensor> {
    return this.#pass(name, piece, tensors).run(tensors)
  }

  #pass(name: PassName, { slice }: Piece, tensors: Tensors): Pass {
    const key = `${name} of slice ${slice}`
    let pass = this.#passes.get(key)
    if (pass === undefined) {
      const specs: Record<string, TensorSpec> = {}
      for (const [input, { shape, dtype }] of Object.entries(tensors)) specs[input] = { shape, dtype }
      const fn = passFunctions[name]
      const sizes = this.#sizesOf(slice)
      pass = this.#device.compile(`stage ${this.stage} ${key}`, specs, (k, inputs) => fn(k, this.range, sizes, inputs))
      this.#passes.set(key, pass)
    }
    return pass
  }

  #order(pass: string, piece: Piece, why: string): SkeinError {
    return outOfOrder(pass, this.stage, piece, why)
  }

  #addGradients(out: Tensors): void {
    readGradients(this.#device, this.#layout, out, this.#begun().gradients, () => true)
  }

  #scalar(tensor: DeviceTensor): number {
    const value = this.#device.read(tensor)[0] as number
    this.#device.release(tensor)
    return value
  }
}

function dropParams(flight: InFlight): void {
  flight.params?.release()
  flight.params = undefined
}

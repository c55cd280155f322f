import { SkeinError, type Shape } from '@skein/core'
import type { DeviceTensor, KernelDevice, Pass, TensorSpec } from '@skein/device'
import { copyToDevice, DeviceStageTensor, takeToDevice } from '../device-stage-tensor.ts'
import { ModelErrors } from '../errors.ts'
import type { FlatLayout } from '../flat-layout.ts'
import { KeptTensors } from '../kept-tensors.ts'
import type { Keeps, Piece, PipelineStage, StageStep, StageTensor } from '../pipeline-stage.ts'
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

interface InFlight {
  readonly kept: KeptTensors
  /** Those that it went forward with, until its inputGrad is done. */
  params: SharedTensors | undefined
  /** What has to come next. */
  awaits: 'recompute' | 'inputGrad' | 'weightGrad'
}

export interface Gpt2StageOptions {
  readonly device: KernelDevice
  readonly layout: FlatLayout
  readonly config: Gpt2Config
  readonly range: SegmentRange
  /** Of each microbatch. */
  readonly samples: number
}

/** A run of a GPT-2's units on one device. Passes are compiled at their first use. */
export class Gpt2Stage implements PipelineStage {
  readonly stage: number
  readonly range: SegmentRange
  readonly #device: KernelDevice
  readonly #layout: FlatLayout
  readonly #sizes: PassSizes
  readonly #paramNames: readonly string[]
  readonly #passes = new Map<PassName, Pass>()
  readonly #inFlight = new Map<string, InFlight>()
  readonly #losses = new Map<string, Piece & { readonly loss: number }>()
  #step: StageStep | undefined
  #params: SharedTensors | undefined

  constructor({ device, layout, config, range, samples }: Gpt2StageOptions) {
    this.stage = range.index
    this.range = range
    this.#device = device
    this.#layout = layout
    this.#sizes = { ...config, samples, tokens: config.context }
    this.#paramNames = segmentParamNames(config, range)
  }

  inputElems(): number {
    return this.range.isFirst ? 0 : this.#boundaryElems()
  }

  outputElems(): number {
    return this.range.isLast ? 0 : this.#boundaryElems()
  }

  fromValues(values: Float32Array): StageTensor {
    return copyToDevice(this.#device, values, this.#boundary())
  }

  begin(step: StageStep): void {
    this.#dropParams()
    this.#losses.clear()
    this.#step = step
  }

  forward(piece: Piece, x: StageTensor | undefined, keeps: Keeps): StageTensor | undefined {
    const key = keyOf(piece)
    if (this.#inFlight.has(key)) throw this.#order('forward', piece, 'it went forward already')
    const kept = new KeptTensors(this.#device)
    kept.add(this.#take('forward', piece, 'x', x))
    try {
      kept.add(this.#tokens(piece))
      const params = this.#sharedParams()
      const { y, lossSum, ...saved } = this.#run(keeps === 'nothing' ? 'output' : 'forward', {
        ...params.byName,
        ...kept.byName,
      })
      if (lossSum !== undefined) this.#losses.set(key, { ...piece, loss: this.#scalar(lossSum) })
      if (keeps === 'nothing') kept.release()
      else {
        if (keeps === 'activations') this.#keepActivations(kept, saved)
        else for (const tensor of Object.values(saved)) this.#device.release(tensor)
        const awaits = keeps === 'activations' ? 'inputGrad' : 'recompute'
        this.#inFlight.set(key, { kept, params: params.retain(), awaits })
      }
      return y && new DeviceStageTensor(y)
    } catch (cause) {
      kept.release()
      throw cause
    }
  }

  recompute(piece: Piece): void {
    const flight = this.#flight('recompute', piece, 'recompute')
    const { y, lossSum, ...saved } = this.#run('forward', { ...flight.params?.byName, ...flight.kept.byName })
    for (const output of [y, lossSum]) if (output !== undefined) this.#device.release(output)
    this.#keepActivations(flight.kept, saved)
    flight.awaits = 'inputGrad'
  }

  inputGrad(piece: Piece, dy: StageTensor | undefined): StageTensor | undefined {
    const flight = this.#flight('inputGrad', piece, 'inputGrad')
    const { dx, ...inner } = this.#runWithGradient('inputGrad', piece, flight, dy)
    flight.kept.add(this.range.isFirst ? { ...inner, dx: dx as DeviceTensor } : inner)
    const { reads } = this.#pass('weightGrad', flight.kept.byName)
    flight.kept.keepOnly(new Set(reads))
    flight.params?.release()
    flight.params = undefined
    flight.awaits = 'weightGrad'
    return this.range.isFirst ? undefined : new DeviceStageTensor(dx as DeviceTensor)
  }

  weightGrad(piece: Piece): void {
    const flight = this.#flight('weightGrad', piece, 'weightGrad')
    this.#addGradients(this.#run('weightGrad', flight.kept.byName))
    this.#forget(piece)
  }

  backward(piece: Piece, dy: StageTensor | undefined): StageTensor | undefined {
    const flight = this.#flight('backward', piece, 'inputGrad')
    const { dx, ...gradients } = this.#runWithGradient('backward', piece, flight, dy)
    this.#addGradients(gradients)
    this.#forget(piece)
    return dx && new DeviceStageTensor(dx)
  }

  offload(piece: Piece, share: number): void {
    this.#flight('offload', piece).kept.offload(share)
  }

  reload(piece: Piece): void {
    const flight = this.#inFlight.get(keyOf(piece))
    if (!flight?.kept.isOffloaded) throw this.#order('reload', piece, 'it is not offloaded')
    flight.kept.reload()
  }

  loss(): LossSum {
    const inOrder = [...this.#losses.values()].sort((a, b) => a.microbatch - b.microbatch || a.slice - b.slice)
    return {
      lossSum: inOrder.reduce((sum, { loss }) => sum + loss, 0),
      samples: new Set(inOrder.map(({ microbatch }) => microbatch)).size * this.#sizes.samples,
    }
  }

  heldBytes(): number {
    return [...this.#inFlight.values()].reduce((sum, { kept }) => sum + kept.bytes(), 0)
  }

  reset(): void {
    for (const { kept, params } of this.#inFlight.values()) {
      kept.release()
      params?.release()
    }
    this.#inFlight.clear()
    this.#losses.clear()
    this.#dropParams()
  }

  dispose(): void {
    this.reset()
    for (const pass of this.#passes.values()) pass.dispose()
    this.#passes.clear()
    this.#step = undefined
  }

  #boundary(): Shape {
    return [this.#sizes.samples * this.#sizes.tokens, this.#sizes.width]
  }

  #boundaryElems(): number {
    return this.#sizes.samples * this.#sizes.tokens * this.#sizes.width
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
  #tokens({ microbatch }: Piece): Tensors {
    const { isFirst, isLast } = this.range
    if (!isFirst && !isLast) return {}
    const batch = this.#begun().batch(microbatch)
    const { samples, context } = this.#sizes
    const arrays = { ...(isFirst && { ids: 'inputs' }), ...(isLast && { targets: 'targets' }) }
    checkTokens({ ...batch, samples }, Object.values(arrays), context)
    return Object.fromEntries(
      Object.entries(arrays).map(([name, array]) => {
        const data = batch.arrays[array]?.data as Int32Array
        // A copy: the batch is borrowed for the step, a piece may be in flight for longer.
        return [name, this.#device.upload(data.slice(), [data.length])]
      }),
    )
  }

  /** `given` under `name`, unless this stage takes nothing on that side. Takes it over. */
  #take(pass: string, piece: Piece, name: 'x' | 'dy', given: StageTensor | undefined): Tensors {
    const takesNone = name === 'x' ? this.range.isFirst : this.range.isLast
    const elems = takesNone ? 0 : this.#boundaryElems()
    if ((given?.elems ?? 0) === elems) {
      return given === undefined ? {} : { [name]: takeToDevice(this.#device, given, this.#boundary()) }
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
  #keepActivations(kept: KeptTensors, saved: Tensors): void {
    kept.keepOnly(new Set(this.range.isFirst ? ['ids'] : []))
    kept.add(saved)
  }

  #runWithGradient(
    name: 'inputGrad' | 'backward',
    piece: Piece,
    { params, kept }: InFlight,
    dy: StageTensor | undefined,
  ): Record<string, DeviceTensor> {
    const taken = this.#take(name, piece, 'dy', dy)
    try {
      return this.#run(name, { ...params?.byName, ...kept.byName, ...taken })
    } finally {
      for (const tensor of Object.values(taken)) this.#device.release(tensor)
    }
  }

  #run(name: PassName, tensors: Tensors): Record<string, DeviceTensor> {
    return this.#pass(name, tensors).run(tensors)
  }

  #pass(name: PassName, tensors: Tensors): Pass {
    let pass = this.#passes.get(name)
    if (pass === undefined) {
      const specs: Record<string, TensorSpec> = {}
      for (const [input, { shape, dtype }] of Object.entries(tensors)) specs[input] = { shape, dtype }
      const fn = passFunctions[name]
      pass = this.#device.compile(`stage ${this.stage} ${name}`, specs, (k, inputs) =>
        fn(k, this.range, this.#sizes, inputs),
      )
      this.#passes.set(name, pass)
    }
    return pass
  }

  /** The piece, on the device and, where `awaits` is given, at that point. */
  #flight(pass: string, piece: Piece, awaits?: InFlight['awaits']): InFlight {
    const flight = this.#inFlight.get(keyOf(piece))
    if (flight === undefined)
      throw this.#order(pass, piece, 'it is not in flight: not yet forward, or finished already')
    if (flight.kept.isOffloaded) throw this.#order(pass, piece, 'it is offloaded and was not reloaded')
    if (awaits === undefined || flight.awaits === awaits) return flight
    throw this.#order(pass, piece, `its next pass is ${flight.awaits}`)
  }

  #order(pass: string, piece: Piece, why: string): SkeinError {
    return outOfOrder(pass, this.stage, piece, why)
  }

  #addGradients(out: Tensors): void {
    readGradients(this.#device, this.#layout, out, this.#begun().gradients, () => true)
  }

  #forget(piece: Piece): void {
    const flight = this.#inFlight.get(keyOf(piece))
    this.#inFlight.delete(keyOf(piece))
    flight?.kept.release()
    flight?.params?.release()
  }

  #scalar(tensor: DeviceTensor): number {
    const value = this.#device.read(tensor)[0] as number
    this.#device.release(tensor)
    return value
  }
}

const keyOf = ({ microbatch, slice }: Piece) => `${microbatch}/${slice}`

import { SkeinError } from '@skein/core'
import { type DeviceTensor, type KernelDevice, type Pass, releaseAll, type TensorSpec } from '@skein/device'
import { ModelErrors } from '../errors.ts'
import type { FlatLayout } from '../flat-layout.ts'
import type { Gpt2Config, SegmentRange } from './config.ts'
import { type Accumulates, readGradients, segmentParamNames, uploadParams } from './flat-tensors.ts'
import {
  type PassSizes,
  segmentBackward,
  segmentForward,
  segmentInputGrad,
  segmentWeightGrad,
} from './segment-passes.ts'

type Tensors = Record<string, DeviceTensor>
type PassName = 'forward' | 'inputGrad' | 'weightGrad' | 'backward'
const passFunctions = {
  forward: segmentForward,
  inputGrad: segmentInputGrad,
  weightGrad: segmentWeightGrad,
  backward: segmentBackward,
} as const

/** What one microbatch has left on the device between its passes. */
interface InFlight {
  readonly params: Tensors
  /** Inputs, saved activations and inner gradients, by name. */
  readonly tensors: Tensors
}

export interface StageInput {
  /** First stage: token ids int32 [N]. Others: `x` [N,D], taken over: the stage releases it. */
  readonly ids?: DeviceTensor
  readonly x?: DeviceTensor
  /** Last stage: int32 [N]. */
  readonly targets?: DeviceTensor
}

/**
 * One segment of a GPT-2 on one device, pass by pass: what a schedule's F, B and W run. Several microbatches can be in flight;
 * each is forward → inputGrad → weightGrad, or forward → backward. Passes are compiled at their first use.
 */
export class Gpt2Stage {
  readonly range: SegmentRange
  readonly #device: KernelDevice
  readonly #layout: FlatLayout
  readonly #sizes: PassSizes
  readonly #paramNames: readonly string[]
  readonly #passes = new Map<PassName, Pass>()
  readonly #inFlight = new Map<number, InFlight>()

  constructor(device: KernelDevice, layout: FlatLayout, config: Gpt2Config, range: SegmentRange, samples: number) {
    this.range = range
    this.#device = device
    this.#layout = layout
    this.#sizes = { ...config, samples, tokens: config.context }
    this.#paramNames = segmentParamNames(config, range)
  }

  /** F. Returns `x` [N,D] for the next stage, or in the last one the loss sum, a scalar; the caller owns it. */
  forward(microbatch: number, input: StageInput, params: Float32Array): DeviceTensor {
    const uploaded = this.#upload(params)
    const given: Tensors = { ...(input as Tensors) }
    const out = this.#run('forward', { ...uploaded, ...given })
    const name = this.range.isLast ? 'lossSum' : 'y'
    const { [name]: result, ...saved } = out
    const { x, ...labels } = given
    x?.device.release(x)
    for (const tensor of Object.values(labels)) this.#device.retain(tensor)
    this.#inFlight.set(microbatch, { params: uploaded, tensors: { ...labels, ...saved } })
    return result as DeviceTensor
  }

  /** B. Takes `dy` over (none in the last stage); returns the gradient of this stage's input, owned by the caller unless it is the first. */
  inputGrad(microbatch: number, dy?: DeviceTensor): DeviceTensor | undefined {
    const flight = this.#flight(microbatch)
    const { dx, ...inner } = this.#run('inputGrad', { ...flight.params, ...flight.tensors, ...(dy && { dy }) })
    if (dy !== undefined) this.#device.release(dy)
    Object.assign(flight.tensors, inner)
    if (!this.range.isFirst) return dx
    flight.tensors['dx'] = dx as DeviceTensor
    return undefined
  }

  /** W. Stores or adds the gradients into the flat buffer and forgets the microbatch. */
  weightGrad(microbatch: number, grads: Float32Array, accumulates: Accumulates): void {
    const flight = this.#flight(microbatch)
    const out = this.#run('weightGrad', flight.tensors)
    this.#finish(microbatch, out, grads, accumulates)
  }

  /** B and W together. */
  backward(
    microbatch: number,
    grads: Float32Array,
    accumulates: Accumulates,
    dy?: DeviceTensor,
  ): DeviceTensor | undefined {
    const flight = this.#flight(microbatch)
    const { dx, ...out } = this.#run('backward', { ...flight.params, ...flight.tensors, ...(dy && { dy }) })
    if (dy !== undefined) this.#device.release(dy)
    this.#finish(microbatch, out, grads, accumulates)
    return dx
  }

  dispose(): void {
    for (const flight of this.#inFlight.values()) {
      releaseAll(flight.params)
      releaseAll(flight.tensors)
    }
    this.#inFlight.clear()
    for (const pass of this.#passes.values()) pass.dispose()
    this.#passes.clear()
  }

  #upload(params: Float32Array): Tensors {
    return uploadParams(this.#device, this.#layout, this.#paramNames, params)
  }

  #run(name: PassName, tensors: Tensors): Tensors {
    let pass = this.#passes.get(name)
    if (pass === undefined) {
      const specs: Record<string, TensorSpec> = {}
      for (const [input, { shape, dtype }] of Object.entries(tensors)) specs[input] = { shape, dtype }
      const fn = passFunctions[name]
      pass = this.#device.compile(`stage ${this.range.index} ${name}`, specs, (k, inputs) =>
        fn(k, this.range, this.#sizes, inputs),
      )
      this.#passes.set(name, pass)
    }
    return pass.run(tensors)
  }

  #flight(microbatch: number): InFlight {
    const flight = this.#inFlight.get(microbatch)
    if (flight !== undefined) return flight
    throw new SkeinError(ModelErrors.STAGE_ORDER, {
      what: `stage ${this.range.index} has no microbatch ${microbatch} in flight`,
      why: 'its forward pass was not run, or it is finished already',
      todo: 'check the schedule: F before B before W, each once a microbatch',
      details: { stage: this.range.index, microbatch },
    })
  }

  #finish(microbatch: number, out: Tensors, grads: Float32Array, accumulates: Accumulates): void {
    readGradients(this.#device, this.#layout, out, grads, accumulates)
    this.#forget(microbatch)
  }

  #forget(microbatch: number): void {
    const flight = this.#inFlight.get(microbatch)
    if (flight === undefined) return
    this.#inFlight.delete(microbatch)
    releaseAll(flight.params)
    releaseAll(flight.tensors)
  }
}

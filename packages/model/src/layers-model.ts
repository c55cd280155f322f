import { SkeinError } from '@skein/core'
import type { LedgerReading, Tfjs } from '@skein/device'
import { ModelErrors } from './errors.ts'
import { type FlatLayout, flatLayout } from './flat-layout.ts'
import type { Batch, LossSum, MicrobatchOptions, TrainableModel } from './trainable-model.ts'

type Tensor = InstanceType<Tfjs['Tensor']>
type Variable = InstanceType<Tfjs['Variable']>
type TfModel = InstanceType<Tfjs['LayersModel']>

/** What the user's loss gets; all of it lives for the call only. */
export interface LossInputs {
  readonly tf: Tfjs
  /** What the model returned; the first where it has several outputs. */
  readonly output: Tensor
  readonly outputs: readonly Tensor[]
  /** All arrays of the batch by name, each [samples, …]. */
  readonly arrays: Readonly<Record<string, Tensor>>
}

export interface LayersModelOptions {
  readonly tf: Tfjs
  /** Owned by the trainable model from here, which disposes it. */
  readonly model: TfModel
  /** One value a sample, [samples], or their mean, a scalar. */
  readonly loss: (inputs: LossInputs) => Tensor
  /** Arrays of the batch that are the model's inputs, in its order. Default: ["inputs"]. */
  readonly inputs?: readonly string[]
}

const maxBuckets = 4

/** Any `tf.LayersModel` with any loss, differentiated by tfjs, on the flat buffers of a run. */
export class LayersModel implements TrainableModel {
  readonly layout: FlatLayout
  readonly initialIsRandom = true
  readonly #options: LayersModelOptions
  readonly #variables: ReadonlyMap<string, Variable>

  constructor(options: LayersModelOptions) {
    this.#options = options
    const { model } = options
    const weights = model.trainableWeights
    if (weights.length === 0) {
      throw new SkeinError(ModelErrors.NO_WEIGHTS, {
        what: `the model ${model.name} has no trainable weights`,
        todo: 'add a layer with weights, or make one trainable',
      })
    }
    if (model.nonTrainableWeights.length > 0) {
      const names = model.nonTrainableWeights.map(weight => weight.name)
      throw new SkeinError(ModelErrors.UNTRAINED_STATE, {
        what: `the model ${model.name} has weights that are not trained by gradients: ${names.join(', ')}`,
        why: 'layers such as batch normalisation update them by themselves, so they would differ between workers',
        todo: 'use layer or group normalisation, or make the layer trainable',
        details: { names },
      })
    }
    // A LayerVariable is a tf.Variable's owner; tfjs keeps it in the field `val`.
    this.#variables = new Map(weights.map(weight => [weight.name, (weight as unknown as { val: Variable }).val]))
    const buckets = Math.min(maxBuckets, weights.length)
    this.layout = flatLayout(
      weights.map((weight, i) => ({
        name: weight.name,
        shape: weight.shape as number[],
        decay: weight.shape.length > 1,
        segment: Math.floor((i * buckets) / weights.length),
      })),
    )
  }

  /** Takes the weights that the model was built with; the seed is the user's business. */
  initialise(params: Float32Array): void {
    params.fill(0)
    for (const { name, offset } of this.layout.tensors) params.set(this.#variable(name).dataSync(), offset)
  }

  trainMicrobatch(batch: Batch, params: Float32Array, grads: Float32Array, options: MicrobatchOptions): LossSum {
    const { tf } = this.#options
    this.#assign(params)
    const { value, grads: byVariable } = tf.tidy(() =>
      tf.variableGrads(() => this.#lossSum(batch, true), [...this.#variables.values()]),
    )
    for (const { name, offset, elems } of this.layout.tensors) {
      const gradient = byVariable[this.#variable(name).name] as Tensor
      const values = gradient.dataSync()
      for (let i = 0; i < elems; i++) {
        const before = options.accumulate ? (grads[offset + i] as number) : 0
        grads[offset + i] = before + (values[i] as number)
      }
    }
    const lossSum = value.dataSync()[0] as number
    tf.dispose([value, byVariable])
    for (const bucket of this.layout.buckets.keys()) options.onBucket?.(bucket)
    return { lossSum, samples: batch.samples }
  }

  evaluate(batch: Batch, params: Float32Array): LossSum {
    const { tf } = this.#options
    this.#assign(params)
    const lossSum = tf.tidy(() => this.#lossSum(batch, false).dataSync()[0] as number)
    return { lossSum, samples: batch.samples }
  }

  ledger(): LedgerReading {
    const { numTensors, numBytes } = this.#options.tf.memory()
    return { liveTensors: numTensors, liveBytes: numBytes, peakBytes: numBytes, backendTensors: numTensors }
  }

  dispose(): void {
    this.#options.model.dispose()
  }

  #variable(name: string): Variable {
    return this.#variables.get(name) as Variable
  }

  #assign(params: Float32Array): void {
    const { tf } = this.#options
    tf.tidy(() => {
      for (const { name, offset, elems, shape } of this.layout.tensors) {
        this.#variable(name).assign(tf.tensor(params.slice(offset, offset + elems), [...shape]))
      }
    })
  }

  #lossSum(batch: Batch, training: boolean) {
    const { tf, model, loss, inputs = ['inputs'] } = this.#options
    const arrays = Object.fromEntries(
      Object.entries(batch.arrays).map(([name, { data, shape }]) => [
        name,
        tf.tensor(data, [...shape], data instanceof Float32Array ? 'float32' : 'int32') as Tensor,
      ]),
    )
    const given = inputs.map(name => arrays[name] ?? missingInput(name, Object.keys(arrays)))
    const result = model.apply(given.length === 1 ? (given[0] as Tensor) : given, { training }) as Tensor | Tensor[]
    const outputs = Array.isArray(result) ? result : [result]
    const value = loss({ tf, output: outputs[0] as Tensor, outputs, arrays })
    if (value.rank === 0) return value.mul(batch.samples).asScalar()
    if (value.rank === 1 && value.shape[0] === batch.samples) return value.sum().asScalar()
    throw new SkeinError(ModelErrors.LOSS_SHAPE, {
      what: `the loss returned a tensor of shape [${value.shape.join(', ')}] for ${batch.samples} samples`,
      why: 'it must be one value a sample, or their mean as a scalar',
      todo: 'take the mean over everything but the first dim, or over all',
      details: { shape: value.shape, samples: batch.samples },
    })
  }
}

function missingInput(name: string, known: readonly string[]): never {
  throw new SkeinError(ModelErrors.INPUT_MISSING, {
    what: `the model's input "${name}" is no array of the batch; it has ${known.join(', ')}`,
    todo: 'name the input as the data does, with `inputs` of layersModel',
    details: { name, known },
  })
}

import type { LedgerReading, Tfjs } from '@skein/device'
import { type FlatLayout, flatLayout } from '../flat-layout.ts'
import type { Batch, LossSum, MicrobatchOptions, TrainableModel } from '../trainable-model.ts'
import { inputNamed, type Loss, lossSumOf, tensorsOf } from './loss.ts'
import { penaltySum } from './penalty.ts'
import { checkWeights, FlatWeights, weightsByName } from './weights.ts'

type Tensor = InstanceType<Tfjs['Tensor']>
type TfModel = InstanceType<Tfjs['LayersModel']>

export interface LayersModelOptions {
  readonly tf: Tfjs
  /** Owned by the trainable model from here, which disposes it. */
  readonly model: TfModel
  readonly loss: Loss
  /** Arrays of the batch that are the model's inputs, in its order. Default: ["inputs"]. */
  readonly inputs?: readonly string[]
}

const maxBuckets = 4

/** Any `tf.LayersModel` with any loss, differentiated by tfjs, on the flat buffers of a run. */
export class LayersModel implements TrainableModel {
  readonly layout: FlatLayout
  readonly initialIsRandom = true
  readonly #options: LayersModelOptions
  readonly #weights: FlatWeights

  /** @throws SKEIN_MODEL_NO_WEIGHTS, SKEIN_MODEL_UNTRAINED_STATE, SKEIN_MODEL_CONSTRAINT */
  constructor(options: LayersModelOptions) {
    this.#options = options
    checkWeights(options.model)
    const weights = weightsByName(options.model.trainableWeights)
    const buckets = Math.min(maxBuckets, weights.size)
    this.layout = flatLayout(
      [...weights].map(([name, weight], i) => ({
        name,
        shape: weight.shape as number[],
        decay: weight.shape.length > 1,
        segment: Math.floor((i * buckets) / weights.size),
      })),
    )
    this.#weights = new FlatWeights(options.tf, this.layout, weights)
  }

  /** Takes the weights that the model was built with; the seed is the user's business. */
  initialise(params: Float32Array): void {
    params.fill(0)
    this.#weights.copyTo(params)
  }

  trainMicrobatch(batch: Batch, params: Float32Array, grads: Float32Array, options: MicrobatchOptions): LossSum {
    const { tf } = this.#options
    this.#weights.assign(params)
    const { names, variables } = this.#weights
    const { value, grads: byVariable } = tf.tidy(() => tf.variableGrads(() => this.#lossSum(batch, true), variables))
    const named = variables.map((variable, i) => [names[i] as string, byVariable[variable.name] as Tensor] as const)
    this.#weights.readGradients(Object.fromEntries(named), grads, options.accumulate)
    const lossSum = value.dataSync()[0] as number
    tf.dispose([value, byVariable])
    for (const bucket of this.layout.buckets.keys()) options.onBucket?.(bucket)
    return { lossSum, samples: batch.samples }
  }

  evaluate(batch: Batch, params: Float32Array): LossSum {
    this.#weights.assign(params)
    const lossSum = this.#options.tf.tidy(() => this.#lossSum(batch, false).dataSync()[0] as number)
    return { lossSum, samples: batch.samples }
  }

  ledger(): LedgerReading {
    const { numTensors, numBytes } = this.#options.tf.memory()
    return { liveTensors: numTensors, liveBytes: numBytes, peakBytes: numBytes, backendTensors: numTensors }
  }

  dispose(): void {
    this.#options.model.dispose()
  }

  #lossSum(batch: Batch, training: boolean) {
    const { tf, model, loss, inputs = ['inputs'] } = this.#options
    const arrays = tensorsOf(tf, batch, false)
    const given = inputs.map(name => inputNamed(name, arrays))
    const result = model.apply(given.length === 1 ? (given[0] as Tensor) : given, { training }) as Tensor | Tensor[]
    const outputs = Array.isArray(result) ? result : [result]
    const lossSum = lossSumOf(loss, { tf, output: outputs[0] as Tensor, outputs, arrays }, batch.samples)
    const penalty = training ? penaltySum(tf, [model], batch.samples) : undefined
    return penalty === undefined ? lossSum : lossSum.add<typeof lossSum>(penalty)
  }
}

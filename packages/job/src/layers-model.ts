import type { Tfjs } from '@skein/device'

export type TfTensor = InstanceType<Tfjs['Tensor']>
export type TfLayersModel = InstanceType<Tfjs['LayersModel']>

/** What a loss gets: all of it lives for the call only. */
export interface LossInputs {
  readonly tf: Tfjs
  /** What the model returned for the batch; the first where it has several outputs. */
  readonly output: TfTensor
  readonly outputs: readonly TfTensor[]
  /** All arrays of the batch by name, each [samples, …]. */
  readonly arrays: Readonly<Record<string, TfTensor>>
}

export interface LayersModelOptions {
  /** Names the model in logs and checkpoints. Default "model". */
  readonly name?: string
  /** Builds the model, on every worker, with the tfjs that the worker runs. Its first weights are taken from one worker. */
  readonly build: (tf: Tfjs) => TfLayersModel | Promise<TfLayersModel>
  /** The loss of each sample, [samples], or the mean over the samples, a scalar. Differentiated by tfjs. */
  readonly loss: (inputs: LossInputs) => TfTensor
  /** Arrays of the batch that are the model's inputs, in their order. Default: ["inputs"]. */
  readonly inputs?: readonly string[]
}

/** What `layersModel` puts into a job. */
export interface LayersModelSpec extends LayersModelOptions {
  readonly kind: 'layers'
}

/** Any `tf.LayersModel` with any loss, trained through tfjs autodiff. For `model` of a job in TypeScript or JavaScript. */
export function layersModel(options: LayersModelOptions): LayersModelSpec {
  return { kind: 'layers', ...options }
}

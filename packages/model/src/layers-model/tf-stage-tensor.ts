import { numElements, type Shape } from '@skein/core'
import type { Tfjs } from '@skein/device'
import type { TensorHolder } from '../kept-tensors.ts'
import type { StageTensor } from '../pipeline-stage.ts'

export type Tensor = InstanceType<Tfjs['Tensor']>

/** A stage's tensor as tfjs has it. */
export class TfStageTensor implements StageTensor {
  readonly tensor: Tensor
  readonly elems: number

  constructor(tensor: Tensor) {
    this.tensor = tensor
    this.elems = numElements(tensor.shape)
  }

  copyTo(out: Float32Array): void {
    out.set(this.tensor.dataSync())
  }

  release(): void {
    this.tensor.dispose()
  }
}

/** Shares `values` with the tensor. */
export const tensorOver = (tf: Tfjs, values: Float32Array | Int32Array, shape: Shape): Tensor =>
  tf.tensor(values, [...shape], values instanceof Float32Array ? 'float32' : 'int32')

/** The tensor, whose ownership passes on. One that another kind of stage made is copied and released. */
export function takeTensor(tf: Tfjs, given: StageTensor, shape: Shape): Tensor {
  if (given instanceof TfStageTensor) return given.tensor
  const values = new Float32Array(given.elems)
  given.copyTo(values)
  given.release()
  return tensorOver(tf, values, shape)
}

export const tfHolder = (tf: Tfjs): TensorHolder<Tensor> => ({
  upload: (values, shape) => tensorOver(tf, values, shape),
  read: tensor => tensor.dataSync() as Float32Array | Int32Array,
  retain: tensor => tensor.clone(),
  release: tensor => tensor.dispose(),
})

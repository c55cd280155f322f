import { SkeinError } from '@skein/core'
import type { Tfjs } from '@skein/device'
import { ModelErrors } from '../errors.ts'
import type { Batch } from '../trainable-model.ts'

type Tensor = InstanceType<Tfjs['Tensor']>
type Scalar = ReturnType<Tensor['asScalar']>

/** What the user's loss gets; all of it lives for the call only. */
export interface LossInputs {
  readonly tf: Tfjs
  /** What the model returned; the first where it has several outputs. */
  readonly output: Tensor
  readonly outputs: readonly Tensor[]
  /** All arrays of the batch by name, each [samples, …]. */
  readonly arrays: Readonly<Record<string, Tensor>>
}

/** One value a sample, [samples], or their mean, a scalar. */
export type Loss = (inputs: LossInputs) => Tensor

/** The arrays of a batch as tensors. `copies`: the tensors outlive the batch. */
export function tensorsOf(tf: Tfjs, batch: Batch, copies: boolean): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(batch.arrays).map(([name, { data, shape }]) => {
      const dtype = data instanceof Float32Array ? 'float32' : 'int32'
      return [name, tf.tensor(copies ? data.slice() : data, [...shape], dtype)]
    }),
  )
}

/** @throws SKEIN_MODEL_INPUT_MISSING */
export function inputNamed(name: string, arrays: Readonly<Record<string, Tensor>>): Tensor {
  const found = arrays[name]
  if (found !== undefined) return found
  const known = Object.keys(arrays)
  throw new SkeinError(ModelErrors.INPUT_MISSING, {
    what: `the model's input "${name}" is no array of the batch; it has ${known.join(', ')}`,
    todo: 'name the input as the data does, with `inputs` of layersModel',
    details: { name, known },
  })
}

/** The loss summed over samples. @throws SKEIN_MODEL_LOSS_SHAPE */
export function lossSumOf(loss: Loss, inputs: LossInputs, samples: number): Scalar {
  const value = loss(inputs)
  if (value.rank === 0) return value.mul(samples).asScalar()
  if (value.rank === 1 && value.shape[0] === samples) return value.sum().asScalar()
  throw new SkeinError(ModelErrors.LOSS_SHAPE, {
    what: `the loss returned a tensor of shape [${value.shape.join(', ')}] for ${samples} samples`,
    why: 'it must be one value a sample, or their mean as a scalar',
    todo: 'take the mean over everything but the first dim, or over all',
    details: { shape: value.shape, samples },
  })
}

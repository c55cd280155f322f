import type { Tfjs } from '@skein/device'
import type { Tensor } from './tf-stage-tensor.ts'
import type { TfLayer } from './weights.ts'

type Scalar = ReturnType<Tensor['asScalar']>

/**
 * What the regularisers of `layers` (a model is one, too) add to the loss sum of `samples` samples that train; undefined where there are none. tfjs adds them
 * to the mean of a batch, so each of its samples has them once, however the batch is cut up. Like tfjs, evaluation goes without. To be called when
 * the layers have been applied: a tf.Sequential is built then, and has them in the model that it keeps in the field `model`, which tfjs trains.
 */
export function penaltySum(tf: Tfjs, layers: readonly TfLayer[], samples: number): Scalar | undefined {
  const losses = layers.flatMap(layer =>
    (layer instanceof tf.Sequential ? (layer as unknown as { model: TfLayer }).model : layer).calculateLosses(),
  )
  return losses.length === 0 ? undefined : tf.addN(losses).mul(samples).asScalar()
}

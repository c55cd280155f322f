import { SkeinError } from '@skein/core'
import { ModelErrors } from '../errors.ts'
import type { Batch } from '../trainable-model.ts'

/** Throws unless each named array is int32 [samples, context]. @throws SKEIN_MODEL_BATCH */
export function checkTokens(batch: Batch, names: readonly string[], context: number): void {
  for (const name of names) {
    const array = batch.arrays[name]
    const { samples } = batch
    const isRight =
      array?.data instanceof Int32Array &&
      array.shape.join() === `${samples},${context}` &&
      array.data.length === samples * context
    if (isRight) continue
    const found =
      array === undefined
        ? `it has ${Object.keys(batch.arrays).join(', ') || 'none'}`
        : `it is ${array.data instanceof Int32Array ? 'int32' : 'float32'} [${array.shape.join(', ')}] with ${array.data.length} elements`
    throw new SkeinError(ModelErrors.BATCH, {
      what: `a GPT-2 with a context of ${context} was given a batch of ${samples} samples whose array "${name}" does not fit: ${found}`,
      why: 'the data was made for another context or another model',
      todo: `give int32 [${samples}, ${context}]: the data's context must be the model's`,
      details: { name, samples, context, shape: array?.shape },
    })
  }
}

import { seededRandom } from '@skein/core'
import type { Batch } from '../trainable-model.ts'
import type { Gpt2Config } from './config.ts'

/** Random ids, each with a target that can be learnt. */
export function randomBatch({ context, vocab }: Gpt2Config, samples: number, seed: number): Batch {
  const random = seededRandom(91, seed)
  const inputs = Int32Array.from({ length: samples * context }, () => random.nextInt(vocab))
  const targets = inputs.map(token => (token * 5 + 3) % vocab)
  const shape = [samples, context]
  return { samples, arrays: { inputs: { data: inputs, shape }, targets: { data: targets, shape } } }
}

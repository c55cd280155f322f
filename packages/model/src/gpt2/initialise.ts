import { seededRandom } from '@skein/core'
import type { FlatLayout } from '../flat-layout.ts'
import type { VocabShard } from '../layers/sharded-vocab.ts'
import { type Gpt2Config, names } from './config.ts'

/**
 * GPT-2's first weights: matrices normal with deviation 0.02, projections back into the residual stream divided by √(2·layers), biases 0,
 * norms 1. Each tensor has its own stream of the seed, keyed by its name, so that the layout does not matter; where the layout has but a shard
 * of the token embedding, it gets the bits of its rows.
 */
export function initialiseGpt2(
  params: Float32Array,
  layout: FlatLayout,
  config: Gpt2Config,
  seed: number,
  shard?: VocabShard,
): void {
  params.fill(0)
  for (const { name, offset, elems, shape } of layout.tensors) {
    if (shape.length === 1) {
      if (name.endsWith('.weight')) params.fill(1, offset, offset + elems)
      continue
    }
    const random = seededRandom(seed, ...Array.from(name, character => character.charCodeAt(0)))
    const deviation = name.endsWith('c_proj.weight') ? 0.02 / Math.sqrt(2 * config.layers) : 0.02
    const rowsBefore = name === names.wte ? (shard?.start ?? 0) : 0
    for (let i = 0; i < rowsBefore * config.width; i++) random.nextNormal()
    for (let i = offset; i < offset + elems; i++) params[i] = deviation * random.nextNormal()
  }
}

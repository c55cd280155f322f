import { seededRandom } from '@skein/core'
import type { FlatLayout } from '../flat-layout.ts'
import type { Gpt2Config } from './config.ts'

/**
 * GPT-2's first weights: matrices normal with deviation 0.02, projections back into the residual stream divided by √(2·layers), biases 0,
 * norms 1. Each tensor has its own stream of the seed, keyed by its name, so that the layout does not matter; where the layout has but some
 * rows of a parameter, these get the bits that they have in the whole.
 */
export function initialiseGpt2(params: Float32Array, layout: FlatLayout, config: Gpt2Config, seed: number): void {
  params.fill(0)
  for (const { name, offset, elems, shape, rows } of layout.tensors) {
    if (shape.length === 1) {
      if (name.endsWith('.weight')) params.fill(1, offset, offset + elems)
      continue
    }
    const random = seededRandom(seed, ...Array.from(name, character => character.charCodeAt(0)))
    const deviation = name.endsWith('c_proj.weight') ? 0.02 / Math.sqrt(2 * config.layers) : 0.02
    const elemsBefore = ((rows?.start ?? 0) * elems) / (shape[0] as number)
    for (let i = 0; i < elemsBefore; i++) random.nextNormal()
    for (let i = offset; i < offset + elems; i++) params[i] = deviation * random.nextNormal()
  }
}

import type { Gpt2Config } from './config.ts'

/*
 * Floating-point operations of forward passes over one sample, products alone: the rest is a few per cent of them and goes the same way.
 * T tokens, D width, V vocabulary; a product of [M,K] and [K,N] has 2·M·K·N. A backward pass has twice as many, in each of these units.
 */

/** By unit, in the order of `gpt2Units`: the default costs by which a model is cut where nothing was measured. */
export function gpt2UnitFlops(config: Gpt2Config): number[] {
  const { layers, width, context, vocab } = config
  const { linear, attention } = blockFlops(config)
  // The embedding looks rows up.
  return [0, ...Array.from({ length: layers }, () => linear + attention), 2 * context * width * vocab]
}

/**
 * The part of a block's time that attention takes once the sequence is sliced: a slice meets the tokens before it only, on average half of
 * them. For `equalCostCuts` of @skein/schedule.
 */
export function attentionPart(config: Gpt2Config): number {
  const { linear, attention } = blockFlops(config)
  return attention / 2 / (linear + attention / 2)
}

/** The products with weights (D to 3D, D to D, D to 4D and back), and scores and mixing, masked or not. */
function blockFlops({ width, context }: Gpt2Config) {
  return { linear: 24 * context * width ** 2, attention: 4 * context ** 2 * width }
}

import { SkeinError } from '@skein/core'
import { ModelErrors } from '../errors.ts'
import type { Gpt2Config } from './config.ts'
import type { PassSizes } from './segment-passes.ts'

/** Sizes of each slice's passes. @throws SKEIN_MODEL_CUT unless the slices make up the context */
export function sliceSizes(config: Gpt2Config, samples: number, slices: readonly number[]): PassSizes[] {
  const total = slices.reduce((sum, tokens) => sum + tokens, 0)
  if (total !== config.context || slices.some(tokens => !Number.isSafeInteger(tokens) || tokens < 1)) {
    throw new SkeinError(ModelErrors.CUT, {
      what: `a context of ${config.context} tokens was to be cut in slices of ${slices.join(', ') || 'none'}`,
      why: 'each slice has one token at least, and all of them together the context',
      todo: `give whole numbers above 0 whose sum is ${config.context}`,
      details: { slices, context: config.context },
    })
  }
  let start = 0
  return slices.map((tokens, slice) => {
    const sizes = { ...config, samples, tokens, start, slice }
    start += tokens
    return sizes
  })
}

/**
 * Tokens of each slice, from where slices begin and end in a sequence of length 1 (`equalLengthCuts`, `equalCostCuts` of @skein/schedule).
 * @throws SKEIN_MODEL_CUT for more slices than tokens
 */
export function sliceLengths(context: number, cuts: readonly number[]): number[] {
  const numSlices = cuts.length - 1
  if (numSlices < 1 || numSlices > context) {
    throw new SkeinError(ModelErrors.CUT, {
      what: `a context of ${context} tokens was to be cut in ${numSlices} slices`,
      why: 'each slice has one token at least',
      todo: `take 1 to ${context} slices`,
      details: { context, numSlices },
    })
  }
  let start = 0
  return Array.from({ length: numSlices }, (_, slice) => {
    const least = start + 1
    const most = context - (numSlices - 1 - slice)
    const end = Math.min(most, Math.max(least, Math.round((cuts[slice + 1] as number) * context)))
    const tokens = end - start
    start = end
    return tokens
  })
}

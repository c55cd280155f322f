import { SkeinError } from '@skein/core'
import { ModelErrors } from '../errors.ts'
import type { ParamSpec } from '../flat-layout.ts'
import { type BlockParam, blockParamNames } from '../layers/block.ts'

/** Sizes of a GPT-2. @see Radford et al. 2019 */
export interface Gpt2Config {
  readonly layers: number
  readonly width: number
  readonly heads: number
  /** Longest sequence, and the length of training samples. */
  readonly context: number
  readonly vocab: number
}

/** Throws where the sizes do not fit together. @throws SKEIN_MODEL_SIZES */
export function checkSizes(config: Gpt2Config): void {
  for (const name of ['layers', 'width', 'heads', 'context', 'vocab'] as const) {
    if (Number.isSafeInteger(config[name]) && config[name] > 0) continue
    throw new SkeinError(ModelErrors.SIZES, {
      what: `a GPT-2 was asked for with ${name} ${config[name]}`,
      todo: `give ${name} as a whole number above 0`,
      details: { ...config },
    })
  }
  if (config.width % config.heads === 0) return
  throw new SkeinError(ModelErrors.SIZES, {
    what: `a width of ${config.width} cannot be divided among ${config.heads} heads`,
    why: 'width must be a multiple of heads: each head gets an equal part of it',
    todo: `change width or heads, for example to a width of ${config.heads * Math.ceil(config.width / config.heads)}`,
    details: { ...config },
  })
}

/** A contiguous run of blocks, perhaps none: what a pipeline stage holds, or one piece of the backward pass. */
export interface SegmentRange {
  readonly index: number
  /** Blocks [from, to). */
  readonly from: number
  readonly to: number
  /** Holds the embeddings, and gives the head the tied one. */
  readonly isFirst: boolean
  /** Holds the final norm and computes logits and loss. */
  readonly isLast: boolean
  /** Where the vocabulary is dealt out over all ranks, the first and the last have this in place of the above: x comes looked up, and gets its positions. */
  readonly hasPositions?: boolean
  /** It ends with the final norm; what makes logits of that is elsewhere. */
  readonly hasFinalNorm?: boolean
}

/** Cuts the blocks into `count` runs of nearly equal length. A function of the model alone, so that every mesh has one layout. */
export function segmentRanges(layers: number, count = Math.min(layers, 4)): SegmentRange[] {
  if (!Number.isSafeInteger(count) || count < 1 || count > layers) {
    throw new SkeinError(ModelErrors.SIZES, {
      what: `${count} segments were asked of a model with ${layers} layers`,
      why: 'each segment needs at least one layer',
      todo: `ask for 1 to ${layers} segments`,
      details: { numSegments: count, layers },
    })
  }
  return Array.from({ length: count }, (_, index) => ({
    index,
    from: Math.floor((layers * index) / count),
    to: Math.floor((layers * (index + 1)) / count),
    isFirst: index === 0,
    isLast: index === count - 1,
  }))
}

export const names = {
  wte: 'transformer.wte.weight',
  wpe: 'transformer.wpe.weight',
  finalGain: 'transformer.ln_f.weight',
  finalBias: 'transformer.ln_f.bias',
  block: (index: number, param: BlockParam) => `transformer.h.${index}.${param}`,
} as const

/** Parameters under Hugging Face's names (GPT2LMHeadModel; lm_head is tied to wte and not stored). */
export function gpt2Params(config: Gpt2Config, segments: readonly SegmentRange[]): ParamSpec[] {
  const { width, vocab, context } = config
  const shapes: Readonly<Record<BlockParam, readonly number[]>> = {
    'ln_1.weight': [width],
    'ln_1.bias': [width],
    'attn.c_attn.weight': [width, 3 * width],
    'attn.c_attn.bias': [3 * width],
    'attn.c_proj.weight': [width, width],
    'attn.c_proj.bias': [width],
    'ln_2.weight': [width],
    'ln_2.bias': [width],
    'mlp.c_fc.weight': [width, 4 * width],
    'mlp.c_fc.bias': [4 * width],
    'mlp.c_proj.weight': [4 * width, width],
    'mlp.c_proj.bias': [width],
  }
  const param = (name: string, shape: readonly number[], segment: number): ParamSpec => ({
    name,
    shape,
    segment,
    decay: shape.length > 1,
  })
  const last = segments.length - 1
  return [
    param(names.wte, [vocab, width], 0),
    param(names.wpe, [context, width], 0),
    ...segments.flatMap(segment =>
      Array.from({ length: segment.to - segment.from }, (_, i) => segment.from + i).flatMap(block =>
        blockParamNames.map(name => param(names.block(block, name), shapes[name], segment.index)),
      ),
    ),
    param(names.finalGain, [width], last),
    param(names.finalBias, [width], last),
  ]
}

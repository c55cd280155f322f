import { formatShape, SkeinError, sameShape } from '@skein/core'
import { CheckpointErrors } from './errors.ts'
import type { NamedTensor } from './tensor.ts'

/** The sizes of a GPT-2. */
export interface Gpt2Sizes {
  readonly layers: number
  readonly width: number
  readonly heads: number
  /** Positions. */
  readonly context: number
  readonly vocab: number
}

export const transformerPrefix = 'transformer.'

/**
 * Every parameter of a GPT2LMHeadModel with tied embeddings, by its Hugging Face name: shapes as Conv1D keeps them, weights
 * [inputs, outputs]. The output head is `transformer.wte.weight`.
 */
export function gpt2Shapes(sizes: Gpt2Sizes): ReadonlyMap<string, readonly number[]> {
  const { layers, width, context, vocab } = sizes
  const shapes: [string, readonly number[]][] = [
    ['wte.weight', [vocab, width]],
    ['wpe.weight', [context, width]],
  ]
  for (let layer = 0; layer < layers; layer++) {
    const block: [string, readonly number[]][] = [
      ['ln_1.weight', [width]],
      ['ln_1.bias', [width]],
      ['attn.c_attn.weight', [width, 3 * width]],
      ['attn.c_attn.bias', [3 * width]],
      ['attn.c_proj.weight', [width, width]],
      ['attn.c_proj.bias', [width]],
      ['ln_2.weight', [width]],
      ['ln_2.bias', [width]],
      ['mlp.c_fc.weight', [width, 4 * width]],
      ['mlp.c_fc.bias', [4 * width]],
      ['mlp.c_proj.weight', [4 * width, width]],
      ['mlp.c_proj.bias', [width]],
    ]
    for (const [name, shape] of block) shapes.push([`h.${layer}.${name}`, shape])
  }
  shapes.push(['ln_f.weight', [width]], ['ln_f.bias', [width]])
  return new Map(shapes.map(([name, shape]) => [`${transformerPrefix}${name}`, shape]))
}

/** The parameters in the order of `gpt2Shapes`, under their full names. @throws SKEIN_CHECKPOINT_HUGGING_FACE when one is missing, too many or misshapen */
export function checkedGpt2(tensors: readonly NamedTensor[], sizes: Gpt2Sizes, where: string): NamedTensor[] {
  const shapes = gpt2Shapes(sizes)
  const byName = new Map(tensors.map(tensor => [fullName(tensor.name), tensor]))
  const problems: string[] = []
  const ordered: NamedTensor[] = []
  for (const [name, shape] of shapes) {
    const tensor = byName.get(name)
    if (tensor === undefined) problems.push(`${name} is missing`)
    else if (!sameShape(tensor.shape, shape)) {
      problems.push(`${name} is ${formatShape(tensor.shape)}, not ${formatShape(shape)}`)
    } else ordered.push({ ...tensor, name })
  }
  for (const name of byName.keys()) if (!shapes.has(name)) problems.push(`${name} is not part of the model`)
  if (problems.length === 0) return ordered
  const more = problems.length > 4 ? ` and ${problems.length - 4} more` : ''
  throw new SkeinError(CheckpointErrors.HUGGING_FACE, {
    what: `the tensors of ${where} are not those of a GPT-2 of ${sizes.layers} layers and width ${sizes.width}: ${problems.slice(0, 4).join('; ')}${more}`,
    why: 'the configuration belongs to other weights, or the model is no plain GPT-2',
    todo: 'use the config.json that belongs to the weights',
    details: { problems },
  })
}

export function fullName(name: string): string {
  return name.startsWith(transformerPrefix) || name.startsWith('lm_head.') ? name : `${transformerPrefix}${name}`
}

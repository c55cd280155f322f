import type { Kernels, KernelTensor } from '@skein/device'
import {
  type AttentionSaved,
  type AttentionSizes,
  attentionForward,
  attentionInputGrad,
  type KeysValues,
  type OtherSlices,
} from './attention.ts'
import { type GeluSaved, geluForward, geluInputGrad } from './gelu.ts'
import { type LayerNormSaved, layerNormForward, layerNormInputGrad, layerNormWeightGrad } from './layer-norm.ts'
import { linearForward, linearInputGrad, linearWeightGrad } from './linear.ts'

/** A pre-norm transformer block: x + attention(ln_1 x), then + mlp(ln_2 ·). All activations [N,D] but the MLP's inner [N,4D]. */

/** The block's parameters under Hugging Face's names, without the prefix `transformer.h.<i>.`. */
export const blockParamNames = [
  'ln_1.weight',
  'ln_1.bias',
  'attn.c_attn.weight',
  'attn.c_attn.bias',
  'attn.c_proj.weight',
  'attn.c_proj.bias',
  'ln_2.weight',
  'ln_2.bias',
  'mlp.c_fc.weight',
  'mlp.c_fc.bias',
  'mlp.c_proj.weight',
  'mlp.c_proj.bias',
] as const
export type BlockParam = (typeof blockParamNames)[number]
export type BlockParams<T> = Readonly<Record<BlockParam, T>>

/** Activations that the backward passes need. */
export interface BlockSaved<T> {
  readonly norm1: LayerNormSaved<T> & { readonly y: T }
  readonly attention: AttentionSaved<T> & { readonly y: T }
  readonly norm2: LayerNormSaved<T> & { readonly y: T }
  readonly gelu: GeluSaved<T> & { readonly y: T }
}

/** Gradients inside the block that its weight gradients are made of. */
export interface BlockInnerGrads<T> {
  readonly dNorm1: T
  readonly dQkv: T
  /** Gradient of the attention's output, before its projection's input. */
  readonly dMiddle: T
  readonly dNorm2: T
  readonly dGelu: T
  readonly dy: T
}

/** `earlier`: keys and values of the slices before this one. */
export function blockForward<T extends KernelTensor>(
  k: Kernels<T>,
  x: T,
  p: BlockParams<T>,
  sizes: AttentionSizes,
  earlier: readonly KeysValues<T>[] = [],
) {
  const norm1 = layerNormForward(k, x, p['ln_1.weight'], p['ln_1.bias'])
  const qkv = linearForward(k, norm1.y, p['attn.c_attn.weight'], p['attn.c_attn.bias'])
  const attention = attentionForward(k, qkv, sizes, earlier)
  const middle = k.add(x, linearForward(k, attention.y, p['attn.c_proj.weight'], p['attn.c_proj.bias']))
  const norm2 = layerNormForward(k, middle, p['ln_2.weight'], p['ln_2.bias'])
  const gelu = geluForward(k, linearForward(k, norm2.y, p['mlp.c_fc.weight'], p['mlp.c_fc.bias']))
  const y = k.add(middle, linearForward(k, gelu.y, p['mlp.c_proj.weight'], p['mlp.c_proj.bias']))
  const saved: BlockSaved<T> = {
    norm1: { ...norm1.saved, y: norm1.y },
    attention: { ...attention.saved, y: attention.y },
    norm2: { ...norm2.saved, y: norm2.y },
    gelu: { ...gelu.saved, y: gelu.y },
  }
  return { y, saved }
}

/** B: dy → dx, and the inner gradients that `blockWeightGrad` needs; of a slice also `later`, for the slice before it. */
export function blockInputGrad<T extends KernelTensor>(
  k: Kernels<T>,
  dy: T,
  p: BlockParams<T>,
  saved: BlockSaved<T>,
  sizes: AttentionSizes,
  others: OtherSlices<T> = { earlier: [] },
) {
  const dGelu = geluInputGrad(k, linearInputGrad(k, dy, p['mlp.c_proj.weight']), saved.gelu)
  const dNorm2 = linearInputGrad(k, dGelu, p['mlp.c_fc.weight'])
  const dMiddle = k.add(dy, layerNormInputGrad(k, dNorm2, p['ln_2.weight'], saved.norm2))
  const dAttention = linearInputGrad(k, dMiddle, p['attn.c_proj.weight'])
  const { dQkv, later } = attentionInputGrad(k, dAttention, saved.attention, sizes, others)
  const dNorm1 = linearInputGrad(k, dQkv, p['attn.c_attn.weight'])
  const dx = k.add(dMiddle, layerNormInputGrad(k, dNorm1, p['ln_1.weight'], saved.norm1))
  return { dx, inner: { dNorm1, dQkv, dMiddle, dNorm2, dGelu, dy } satisfies BlockInnerGrads<T>, later }
}

/** W: the gradients of all parameters, from what F saved and B left. */
export function blockWeightGrad<T extends KernelTensor>(
  k: Kernels<T>,
  saved: BlockSaved<T>,
  inner: BlockInnerGrads<T>,
): Record<BlockParam, T> {
  const norm1 = layerNormWeightGrad(k, inner.dNorm1, saved.norm1.xhat)
  const qkv = linearWeightGrad(k, saved.norm1.y, inner.dQkv)
  const projection = linearWeightGrad(k, saved.attention.y, inner.dMiddle)
  const norm2 = layerNormWeightGrad(k, inner.dNorm2, saved.norm2.xhat)
  const up = linearWeightGrad(k, saved.norm2.y, inner.dGelu)
  const down = linearWeightGrad(k, saved.gelu.y, inner.dy)
  return {
    'ln_1.weight': norm1.weight,
    'ln_1.bias': norm1.bias,
    'attn.c_attn.weight': qkv.weight,
    'attn.c_attn.bias': qkv.bias,
    'attn.c_proj.weight': projection.weight,
    'attn.c_proj.bias': projection.bias,
    'ln_2.weight': norm2.weight,
    'ln_2.bias': norm2.bias,
    'mlp.c_fc.weight': up.weight,
    'mlp.c_fc.bias': up.bias,
    'mlp.c_proj.weight': down.weight,
    'mlp.c_proj.bias': down.bias,
  }
}

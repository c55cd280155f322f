import type { Kernels, KernelTensor } from '@skein/device'
import { type LayerNormSaved, layerNormForward, layerNormInputGrad, layerNormWeightGrad } from './layer-norm.ts'

/** Final norm, logits through the tied token embedding, cross entropy. x [N,D], wte [V,D], targets int32 [N = B·T]. */
export interface HeadSaved<T> {
  readonly norm: LayerNormSaved<T> & { readonly y: T }
  /** Gradient of the loss sum with respect to the logits, [N,V]: the loss kernel gives it with the loss. */
  readonly dLogits: T
}

export function headLogits<T extends KernelTensor>(k: Kernels<T>, x: T, gain: T, bias: T, wte: T) {
  const norm = layerNormForward(k, x, gain, bias)
  return { logits: k.matMul(norm.y, wte, { transposeB: true }), norm }
}

/**
 * The sum over samples of each sample's mean loss over its `tokens` tokens, a scalar, in nats. Where x is a slice of the sequence, `tokens`
 * are those of the whole, and the sum over slices is the loss.
 */
export function headForward<T extends KernelTensor>(
  k: Kernels<T>,
  x: T,
  p: { readonly gain: T; readonly bias: T; readonly wte: T },
  targets: T,
  tokens: number,
) {
  const { logits, norm } = headLogits(k, x, p.gain, p.bias, p.wte)
  const { loss, gradient } = k.softmaxCrossEntropy(logits, targets)
  const saved: HeadSaved<T> = { norm: { ...norm.saved, y: norm.y }, dLogits: k.scale(gradient, 1 / tokens) }
  return { lossSum: k.scale(k.firstDimSum(loss), 1 / tokens), saved }
}

export function headInputGrad<T extends KernelTensor>(
  k: Kernels<T>,
  p: { readonly gain: T; readonly wte: T },
  saved: HeadSaved<T>,
) {
  const dNorm = k.matMul(saved.dLogits, p.wte)
  return { dx: layerNormInputGrad(k, dNorm, p.gain, saved.norm), dNorm }
}

export function headWeightGrad<T extends KernelTensor>(k: Kernels<T>, saved: HeadSaved<T>, dNorm: T) {
  const norm = layerNormWeightGrad(k, dNorm, saved.norm.xhat)
  return {
    gain: norm.weight,
    bias: norm.bias,
    /** The head's part of the tied embedding's gradient. */
    wte: k.matMul(saved.dLogits, saved.norm.y, { transposeA: true }),
  }
}

import type { Kernels, KernelTensor } from '@skein/device'

/** Causal self-attention between its two linear layers. B samples, T tokens, H heads of size K; D = H·K, N = B·T. */
export interface AttentionSizes {
  readonly samples: number
  readonly tokens: number
  readonly heads: number
  readonly width: number
}

export interface AttentionSaved<T> {
  /** Queries, scaled by 1/√K, [B,H,T,K]. */
  readonly q: T
  readonly k: T
  readonly v: T
  /** Attention weights, [B,H,T,T]. */
  readonly probs: T
  /** Weighted values, [B,H,T,K]. */
  readonly mixed: T
}

const headSize = (sizes: AttentionSizes) => sizes.width / sizes.heads

/** 1e9 where a token must not look, 0 elsewhere. One array per length, so that devices upload it once. */
const masks = new Map<number, Float32Array>()

function causalMask<T extends KernelTensor>(k: Kernels<T>, tokens: number): T {
  let mask = masks.get(tokens)
  if (mask === undefined) {
    mask = new Float32Array(tokens * tokens)
    for (let row = 0; row < tokens; row++) mask.fill(1e9, row * tokens + row + 1, (row + 1) * tokens)
    masks.set(tokens, mask)
  }
  return k.constant(mask, [1, 1, tokens, tokens])
}

/** qkv [N,3D] → weighted values [N,D]. The query is scaled before the product and the mask subtracted after it: see `Kernels`. */
export function attentionForward<T extends KernelTensor>(k: Kernels<T>, qkv: T, sizes: AttentionSizes) {
  const { samples, tokens, heads, width } = sizes
  const size = headSize(sizes)
  const split = k.transpose(k.reshape(qkv, [samples, tokens, 3, heads, size]), [2, 0, 3, 1, 4])
  const [q0, keys, values] = k.unpack(split) as [T, T, T]
  const q = k.scale(q0, 1 / Math.sqrt(size))
  const scores = k.batchMatMul(q, keys, { transposeB: true })
  const probs = k.softmax(k.sub(scores, causalMask(k, tokens)))
  const mixed = k.batchMatMul(probs, values)
  const y = k.reshape(k.transpose(mixed, [0, 2, 1, 3]), [samples * tokens, width])
  return { y, saved: { q, k: keys, v: values, probs, mixed } satisfies AttentionSaved<T> }
}

/** dy [N,D] → d(qkv) [N,3D]. No weights of its own. The softmax's row sum is taken over K columns (dO·O) and not over T. */
export function attentionInputGrad<T extends KernelTensor>(
  k: Kernels<T>,
  dy: T,
  saved: AttentionSaved<T>,
  sizes: AttentionSizes,
): T {
  const { samples, tokens, heads, width } = sizes
  const size = headSize(sizes)
  const dMixed = k.transpose(k.reshape(dy, [samples, tokens, heads, size]), [0, 2, 1, 3])
  const rowSums = k.rowSum(k.mul(dMixed, saved.mixed))
  const dProbs = k.batchMatMul(dMixed, saved.v, { transposeB: true })
  const dScores = k.mul(saved.probs, k.sub(dProbs, rowSums))
  const dv = k.batchMatMul(saved.probs, dMixed, { transposeA: true })
  const dq = k.scale(k.batchMatMul(dScores, saved.k), 1 / Math.sqrt(size))
  const dk = k.batchMatMul(dScores, saved.q, { transposeA: true })
  return k.reshape(k.transpose(k.pack([dq, dk, dv]), [1, 3, 0, 2, 4]), [samples * tokens, 3 * width])
}

import type { Kernels, KernelTensor } from '@skein/device'

/**
 * Causal self-attention between its two linear layers. B samples, T tokens, H heads of size K; D = H·K, N = B·T. Of a slice of the
 * sequence: P tokens before it, in earlier slices, whose keys and values it reads and to whose gradients it adds; S = P+T.
 */
export interface AttentionSizes {
  readonly samples: number
  readonly tokens: number
  readonly heads: number
  readonly width: number
  /** P. Default 0. */
  readonly start?: number
}

/** Of a slice, [B,H,T,K]; of several joined, the sum of their T. */
export interface KeysValues<T> {
  readonly k: T
  readonly v: T
}

export interface AttentionSaved<T> extends KeysValues<T> {
  /** Queries, scaled by 1/√K, [B,H,T,K]. */
  readonly q: T
  /** Attention weights, [B,H,T,S]. */
  readonly probs: T
  /** Weighted values, [B,H,T,K]. */
  readonly mixed: T
}

const headSize = (sizes: AttentionSizes) => sizes.width / sizes.heads
const sequenceDim = 2

/** 1e9 where a token must not look, 0 elsewhere. One array per length and start, so that devices upload it once. */
const masks = new Map<string, Float32Array>()

function causalMask<T extends KernelTensor>(k: Kernels<T>, { tokens, start = 0 }: AttentionSizes): T {
  const columns = start + tokens
  const key = `${tokens} from ${start}`
  let mask = masks.get(key)
  if (mask === undefined) {
    mask = new Float32Array(tokens * columns)
    for (let row = 0; row < tokens; row++) mask.fill(1e9, row * columns + start + row + 1, (row + 1) * columns)
    masks.set(key, mask)
  }
  return k.constant(mask, [1, 1, tokens, columns])
}

function joined<T extends KernelTensor>(k: Kernels<T>, earlier: readonly KeysValues<T>[], own: KeysValues<T>) {
  if (earlier.length === 0) return own
  const all = [...earlier, own]
  const join = (name: 'k' | 'v') =>
    k.concat(
      all.map(part => part[name]),
      sequenceDim,
    )
  return { k: join('k'), v: join('v') }
}

/**
 * qkv [N,3D] → weighted values [N,D]. The query is scaled before the product and the mask subtracted after it: see `Kernels`. `earlier`: of
 * the slices before this one, in their order.
 */
export function attentionForward<T extends KernelTensor>(
  k: Kernels<T>,
  qkv: T,
  sizes: AttentionSizes,
  earlier: readonly KeysValues<T>[] = [],
) {
  const { samples, tokens, heads, width } = sizes
  const size = headSize(sizes)
  const split = k.transpose(k.reshape(qkv, [samples, tokens, 3, heads, size]), [2, 0, 3, 1, 4])
  const [q0, keys, values] = k.unpack(split) as [T, T, T]
  const q = k.scale(q0, 1 / Math.sqrt(size))
  const all = joined(k, earlier, { k: keys, v: values })
  const scores = k.batchMatMul(q, all.k, { transposeB: true })
  const probs = k.softmax(k.sub(scores, causalMask(k, sizes)))
  const mixed = k.batchMatMul(probs, all.v)
  const y = k.reshape(k.transpose(mixed, [0, 2, 1, 3]), [samples * tokens, width])
  return { y, saved: { q, k: keys, v: values, probs, mixed } satisfies AttentionSaved<T> }
}

/** The other slices of a sequence, as the backward pass of one of them meets them. */
export interface OtherSlices<T> {
  readonly earlier: readonly KeysValues<T>[]
  /** Gradients of the keys and values up to this slice's end, [B,H,S,K], that the slices behind it have made. None for the last. */
  readonly later?: KeysValues<T>
}

/**
 * dy [N,D] → d(qkv) [N,3D]. No weights of its own. The softmax's row sum is taken over K columns (dO·O) and not over T. Slices go by falling
 * order: `later` of the result is for the slice before this one, [B,H,P,K].
 */
export function attentionInputGrad<T extends KernelTensor>(
  k: Kernels<T>,
  dy: T,
  saved: AttentionSaved<T>,
  sizes: AttentionSizes,
  { earlier, later }: OtherSlices<T> = { earlier: [] },
): { readonly dQkv: T; readonly later: KeysValues<T> | undefined } {
  const { samples, tokens, heads, width, start = 0 } = sizes
  const size = headSize(sizes)
  const all = joined(k, earlier, saved)
  const dMixed = k.transpose(k.reshape(dy, [samples, tokens, heads, size]), [0, 2, 1, 3])
  const rowSums = k.rowSum(k.mul(dMixed, saved.mixed))
  const dProbs = k.batchMatMul(dMixed, all.v, { transposeB: true })
  const dScores = k.mul(saved.probs, k.sub(dProbs, rowSums))
  const dv = plus(k, k.batchMatMul(saved.probs, dMixed, { transposeA: true }), later?.v)
  const dq = k.scale(k.batchMatMul(dScores, all.k), 1 / Math.sqrt(size))
  const dk = plus(k, k.batchMatMul(dScores, saved.q, { transposeA: true }), later?.k)
  const [own, before] = start === 0 ? [{ k: dk, v: dv }, undefined] : splitAt(k, start, tokens, { k: dk, v: dv })
  const dQkv = k.reshape(k.transpose(k.pack([dq, own.k, own.v]), [1, 3, 0, 2, 4]), [samples * tokens, 3 * width])
  return { dQkv, later: before }
}

/** product + x, by a subtraction: TensorFlow's optimizer would fold an addition into the product's slow loop, see `Kernels`. */
function plus<T extends KernelTensor>(k: Kernels<T>, product: T, x: T | undefined): T {
  return x === undefined ? product : k.sub(product, k.scale(x, -1))
}

function splitAt<T extends KernelTensor>(k: Kernels<T>, start: number, tokens: number, both: KeysValues<T>) {
  const [kBefore, kOwn] = k.split(both.k, [start, tokens], sequenceDim) as [T, T]
  const [vBefore, vOwn] = k.split(both.v, [start, tokens], sequenceDim) as [T, T]
  return [
    { k: kOwn, v: vOwn },
    { k: kBefore, v: vBefore },
  ] as const
}

import type { Kernels, KernelTensor } from '@skein/device'

/** Token and position embeddings. ids int32 [N = B·T], wte [V,D], wpe [P,D] with P ≥ start+T; x [N,D]. */
export interface EmbeddingSizes {
  readonly samples: number
  readonly tokens: number
  readonly width: number
  readonly vocab: number
  readonly context: number
  /** Position of the first token. Default 0. */
  readonly start?: number
}

/** One array per length and start, so that devices upload it once. */
const positionLists = new Map<string, Int32Array>()

function positions<T extends KernelTensor>(k: Kernels<T>, { tokens, start = 0 }: EmbeddingSizes): T {
  const key = `${tokens} from ${start}`
  let list = positionLists.get(key)
  if (list === undefined) {
    list = Int32Array.from({ length: tokens }, (_, i) => start + i)
    positionLists.set(key, list)
  }
  return k.indices(list, [tokens])
}

export function embeddingForward<T extends KernelTensor>(k: Kernels<T>, ids: T, wte: T, wpe: T, s: EmbeddingSizes): T {
  return positionsForward(k, k.gatherRows(wte, ids), wpe, s)
}

/** Tokens that were looked up, [N,D], with their positions. */
export function positionsForward<T extends KernelTensor>(k: Kernels<T>, tokens: T, wpe: T, s: EmbeddingSizes): T {
  const own = s.tokens === s.context ? wpe : k.gatherRows(wpe, positions(k, s))
  const bySample = k.reshape(tokens, [s.samples, s.tokens, s.width])
  return k.reshape(k.add(bySample, own), [s.samples * s.tokens, s.width])
}

/** The ids have no gradient, so this is all of the backward pass. */
export function embeddingWeightGrad<T extends KernelTensor>(k: Kernels<T>, dx: T, ids: T, s: EmbeddingSizes) {
  const wpe = positionsWeightGrad(k, dx, s)
  return { wte: k.segmentSum(dx, ids, s.vocab), wpe }
}

export function positionsWeightGrad<T extends KernelTensor>(k: Kernels<T>, dx: T, s: EmbeddingSizes): T {
  const own = k.firstDimSum(k.reshape(dx, [s.samples, s.tokens, s.width]))
  return s.tokens === s.context ? own : k.segmentSum(own, positions(k, s), s.context)
}

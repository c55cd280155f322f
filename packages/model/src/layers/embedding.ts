import type { Kernels, KernelTensor } from '@skein/device'

/** Token and position embeddings. ids int32 [N = B·T], wte [V,D], wpe [P,D] with P ≥ T; x [N,D]. */
export interface EmbeddingSizes {
  readonly samples: number
  readonly tokens: number
  readonly width: number
  readonly vocab: number
  readonly context: number
}

export function embeddingForward<T extends KernelTensor>(k: Kernels<T>, ids: T, wte: T, wpe: T, s: EmbeddingSizes): T {
  const positions =
    s.tokens === s.context
      ? wpe
      : k.gatherRows(
          wpe,
          k.indices(
            Int32Array.from({ length: s.tokens }, (_, i) => i),
            [s.tokens],
          ),
        )
  const tokens = k.reshape(k.gatherRows(wte, ids), [s.samples, s.tokens, s.width])
  return k.reshape(k.add(tokens, positions), [s.samples * s.tokens, s.width])
}

/** The ids have no gradient, so this is all of the backward pass. Needs T = P, as in training. */
export function embeddingWeightGrad<T extends KernelTensor>(k: Kernels<T>, dx: T, ids: T, s: EmbeddingSizes) {
  return {
    wte: k.segmentSum(dx, ids, s.vocab),
    wpe: k.firstDimSum(k.reshape(dx, [s.samples, s.tokens, s.width])),
  }
}

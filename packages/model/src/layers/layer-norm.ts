import type { Kernels, KernelTensor } from '@skein/device'

/** Layer norm over the last dim, eps inside the root. x, y [N,D]; gain, bias [D]. @see Ba et al. 2016 */
const eps = 1e-5

export interface LayerNormSaved<T> {
  /** (x - mean) / std, [N,D]. */
  readonly xhat: T
  /** 1 / std, [N,1]. */
  readonly rstd: T
}

export function layerNormForward<T extends KernelTensor>(k: Kernels<T>, x: T, gain: T, bias: T) {
  const centred = k.sub(x, k.rowMean(x))
  const rstd = k.rsqrt(k.shift(k.rowMean(k.square(centred)), eps))
  const xhat = k.mul(centred, rstd)
  return { y: k.biasAdd(k.mul(xhat, gain), bias), saved: { xhat, rstd } satisfies LayerNormSaved<T> }
}

/** dx from dy: rstd · (d - mean(d) - xhat · mean(d · xhat)), d = dy · gain. */
export function layerNormInputGrad<T extends KernelTensor>(k: Kernels<T>, dy: T, gain: T, saved: LayerNormSaved<T>): T {
  const d = k.mul(dy, gain)
  const meanD = k.rowMean(d)
  const meanDx = k.rowMean(k.mul(d, saved.xhat))
  return k.mul(k.sub(k.sub(d, meanD), k.mul(saved.xhat, meanDx)), saved.rstd)
}

export function layerNormWeightGrad<T extends KernelTensor>(k: Kernels<T>, dy: T, xhat: T) {
  return { weight: k.columnSum(k.mul(dy, xhat)), bias: k.columnSum(dy) }
}

import type { Kernels, KernelTensor } from '@skein/device'

/** y = x·w + b with w [in,out]: Hugging Face's Conv1D. x [N,in], y [N,out]. */
export function linearForward<T extends KernelTensor>(k: Kernels<T>, x: T, weight: T, bias: T): T {
  return k.biasAdd(k.matMul(x, weight), bias)
}

export function linearInputGrad<T extends KernelTensor>(k: Kernels<T>, dy: T, weight: T): T {
  return k.matMul(dy, weight, { transposeB: true })
}

export function linearWeightGrad<T extends KernelTensor>(k: Kernels<T>, x: T, dy: T) {
  return { weight: k.matMul(x, dy, { transposeA: true }), bias: k.columnSum(dy) }
}

import type { Kernels, KernelTensor } from '@skein/device'

/** GELU in its tanh form ("gelu_new"), written as z·σ(2u), u = √(2/π)·(z + 0.044715 z³). @see Hendrycks & Gimpel 2016 */
const c = 2 * Math.sqrt(2 / Math.PI)
const a = 0.044715

export interface GeluSaved<T> {
  readonly z: T
  readonly zSquared: T
  /** σ(2u). */
  readonly gate: T
}

export function geluForward<T extends KernelTensor>(k: Kernels<T>, z: T) {
  const zSquared = k.square(z)
  const gate = k.sigmoid(k.mul(z, k.shift(k.scale(zSquared, c * a), c)))
  return { y: k.mul(z, gate), saved: { z, zSquared, gate } satisfies GeluSaved<T> }
}

export function geluInputGrad<T extends KernelTensor>(k: Kernels<T>, dy: T, saved: GeluSaved<T>): T {
  const slope = k.shift(k.scale(saved.zSquared, 3 * c * a), c)
  return k.add(k.mul(dy, saved.gate), k.mul(k.sigmoidGrad(saved.gate, k.mul(dy, saved.z)), slope))
}

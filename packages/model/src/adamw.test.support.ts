/** torch.optim.AdamW for one step over [from, to) of flat buffers, written plainly in float64. */
export function adamwStep(
  params: Float32Array,
  grads: Float32Array,
  moments: { readonly m: Float32Array; readonly v: Float32Array },
  [from, to]: readonly [number, number],
  o: {
    readonly lr: number
    readonly beta1: number
    readonly beta2: number
    readonly eps: number
    readonly weightDecay: number
    readonly gradScale: number
    readonly step: number
  },
): void {
  const { m, v } = moments
  for (let i = from; i < to; i++) {
    const g = (grads[i] as number) * o.gradScale
    const mi = o.beta1 * (m[i] as number) + (1 - o.beta1) * g
    const vi = o.beta2 * (v[i] as number) + (1 - o.beta2) * g * g
    m[i] = mi
    v[i] = vi
    const mHat = mi / (1 - o.beta1 ** o.step)
    const vHat = vi / (1 - o.beta2 ** o.step)
    params[i] = (params[i] as number) * (1 - o.lr * o.weightDecay) - (o.lr * mHat) / (Math.sqrt(vHat) + o.eps)
  }
}

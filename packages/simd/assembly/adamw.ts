// One AdamW step over flat float32 buffers, out of place or in place. Every operation is a single IEEE float32 operation in a
// fixed order (no fused multiply-add), so the same input gives the same bits on every machine.

/**
 * @param decay 1 - lr·weightDecay
 * @param stepSize lr / (1 - beta1^step)
 * @param rsqrtBias2 1 / sqrt(1 - beta2^step)
 */
export function adamw(
  p: usize,
  m: usize,
  v: usize,
  g: usize,
  pOut: usize,
  mOut: usize,
  vOut: usize,
  n: usize,
  gradScale: f32,
  beta1: f32,
  oneMinusBeta1: f32,
  beta2: f32,
  oneMinusBeta2: f32,
  decay: f32,
  stepSize: f32,
  rsqrtBias2: f32,
  eps: f32,
): void {
  const bytes = n << 2
  const blockBytes = (n & ~7) << 2
  const gs = f32x4.splat(gradScale)
  const b1 = f32x4.splat(beta1)
  const c1 = f32x4.splat(oneMinusBeta1)
  const b2 = f32x4.splat(beta2)
  const c2 = f32x4.splat(oneMinusBeta2)
  const dv = f32x4.splat(decay)
  const ss = f32x4.splat(stepSize)
  const rb = f32x4.splat(rsqrtBias2)
  const ev = f32x4.splat(eps)
  let i: usize = 0
  for (; i < blockBytes; i += 32) {
    const g0 = f32x4.mul(v128.load(g + i), gs)
    const g1 = f32x4.mul(v128.load(g + i, 16), gs)
    const m0 = f32x4.add(f32x4.mul(v128.load(m + i), b1), f32x4.mul(g0, c1))
    const m1 = f32x4.add(f32x4.mul(v128.load(m + i, 16), b1), f32x4.mul(g1, c1))
    const v0 = f32x4.add(f32x4.mul(v128.load(v + i), b2), f32x4.mul(f32x4.mul(g0, g0), c2))
    const v1 = f32x4.add(f32x4.mul(v128.load(v + i, 16), b2), f32x4.mul(f32x4.mul(g1, g1), c2))
    const d0 = f32x4.add(f32x4.mul(f32x4.sqrt(v0), rb), ev)
    const d1 = f32x4.add(f32x4.mul(f32x4.sqrt(v1), rb), ev)
    const p0 = f32x4.sub(f32x4.mul(v128.load(p + i), dv), f32x4.div(f32x4.mul(m0, ss), d0))
    const p1 = f32x4.sub(f32x4.mul(v128.load(p + i, 16), dv), f32x4.div(f32x4.mul(m1, ss), d1))
    v128.store(mOut + i, m0)
    v128.store(mOut + i, m1, 16)
    v128.store(vOut + i, v0)
    v128.store(vOut + i, v1, 16)
    v128.store(pOut + i, p0)
    v128.store(pOut + i, p1, 16)
  }
  for (; i < bytes; i += 4) {
    const g0: f32 = load<f32>(g + i) * gradScale
    const m0: f32 = load<f32>(m + i) * beta1 + g0 * oneMinusBeta1
    const v0: f32 = load<f32>(v + i) * beta2 + g0 * g0 * oneMinusBeta2
    const d0: f32 = sqrt<f32>(v0) * rsqrtBias2 + eps
    const p0: f32 = load<f32>(p + i) * decay - (m0 * stepSize) / d0
    store<f32>(mOut + i, m0)
    store<f32>(vOut + i, v0)
    store<f32>(pOut + i, p0)
  }
}

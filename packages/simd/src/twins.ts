import { type AdamwOptions, adamwScalars } from './adamw-scalars.ts'

/**
 * The kernels in plain TypeScript over typed arrays: the oracle of the tests, and the definition to read. They give the same
 * bits: one float64 operation rounded by Math.fround is the float32 operation for + - × ÷ and √.
 */

export function addTwin(dst: Float32Array, src: Float32Array): void {
  for (let i = 0; i < dst.length; i++) dst[i] = (dst[i] as number) + (src[i] as number)
}

export function scaleTwin(dst: Float32Array, s: number): void {
  const factor = Math.fround(s)
  for (let i = 0; i < dst.length; i++) dst[i] = (dst[i] as number) * factor
}

export function sumSquaresTwin(x: Float32Array): number {
  const partial = new Float64Array(8)
  const blocks = x.length - (x.length % 8)
  for (let i = 0; i < blocks; i++) partial[i % 8] = (partial[i % 8] as number) + (x[i] as number) ** 2
  let sum = partial[0] as number
  for (let lane = 1; lane < 8; lane++) sum += partial[lane] as number
  for (let i = blocks; i < x.length; i++) sum += (x[i] as number) ** 2
  return sum
}

export function hasNonFiniteTwin(x: Float32Array): boolean {
  return x.some(value => !Number.isFinite(value))
}

/** In place on p, m and v; each [n], as is g. */
export function adamwTwin(
  buffers: {
    readonly p: Float32Array
    readonly m: Float32Array
    readonly v: Float32Array
    readonly g: Float32Array
  },
  options: AdamwOptions,
): void {
  const { p, m, v, g } = buffers
  const f = Math.fround
  const [gradScale, beta1, oneMinusBeta1, beta2, oneMinusBeta2, decay, stepSize, rsqrtBias2, eps] =
    adamwScalars(options)
  for (let i = 0; i < p.length; i++) {
    const gradient = f((g[i] as number) * gradScale)
    const m1 = f(f((m[i] as number) * beta1) + f(gradient * oneMinusBeta1))
    const v1 = f(f((v[i] as number) * beta2) + f(f(gradient * gradient) * oneMinusBeta2))
    const denominator = f(f(f(Math.sqrt(v1)) * rsqrtBias2) + eps)
    p[i] = f(f((p[i] as number) * decay) - f(f(m1 * stepSize) / denominator))
    m[i] = m1
    v[i] = v1
  }
}

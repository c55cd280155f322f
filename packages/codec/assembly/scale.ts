// dst[i] *= factor in place; 16-bit types are multiplied in float32 and rounded once.

import { BFloat16, Float16, Halves } from './halves'

function scaleHalves<F>(dst: usize, n: usize, factor: f32): void {
  const vectors = dst + ((n & ~7) << 1)
  const end = dst + (n << 1)
  const fv = f32x4.splat(factor)
  for (; dst < vectors; dst += 16) {
    const lo = f32x4.mul(Halves.widen<F>(v128.load16x4_u(dst)), fv)
    const hi = f32x4.mul(Halves.widen<F>(v128.load16x4_u(dst, 8)), fv)
    v128.store(dst, i16x8.narrow_i32x4_u(Halves.narrow<F>(lo), Halves.narrow<F>(hi)))
  }
  for (; dst < end; dst += 2) {
    const x = Halves.widen<F>(i32x4.splat(load<u16>(dst)))
    v128.store16_lane(dst, Halves.narrow<F>(f32x4.mul(x, fv)), 0)
  }
}

export function scaleFloat32(dst: usize, n: usize, factor: f32): void {
  const vectors = dst + ((n & ~7) << 2)
  const end = dst + (n << 2)
  const fv = f32x4.splat(factor)
  for (; dst < vectors; dst += 32) {
    v128.store(dst, f32x4.mul(v128.load(dst), fv))
    v128.store(dst, f32x4.mul(v128.load(dst, 16), fv), 16)
  }
  for (; dst < end; dst += 4) store<f32>(dst, load<f32>(dst) * factor)
}
export function scaleFloat16(dst: usize, n: usize, factor: f32): void {
  scaleHalves<Float16>(dst, n, factor)
}
export function scaleBFloat16(dst: usize, n: usize, factor: f32): void {
  scaleHalves<BFloat16>(dst, n, factor)
}

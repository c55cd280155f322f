// Reductions of collectives: dst[i] = dst[i] op src[i]. Ops: 0 sum, 1 min, 2 max; NaN wins in min and max.
import { Half, loadFloats, loadHalves, narrow, storeFloats, storeHalves, widen } from './half'

function combineFloats(op: i32, a: v128, b: v128): v128 {
  if (op == 0) return f32x4.add(a, b)
  return op == 1 ? f32x4.min(a, b) : f32x4.max(a, b)
}

function combineInts(op: i32, a: v128, b: v128): v128 {
  if (op == 0) return i32x4.add(a, b)
  return op == 1 ? i32x4.min_s(a, b) : i32x4.max_s(a, b)
}

export function reduceFloat32(op: i32, dst: usize, src: usize, n: usize): void {
  for (let i: usize = 0; i < n; i += 4) {
    const at = i << 2
    storeFloats(dst + at, combineFloats(op, loadFloats(dst + at, n - i), loadFloats(src + at, n - i)), n - i)
  }
}

/** Sums wrap. */
export function reduceInt32(op: i32, dst: usize, src: usize, n: usize): void {
  for (let i: usize = 0; i < n; i += 4) {
    const at = i << 2
    storeFloats(dst + at, combineInts(op, loadFloats(dst + at, n - i), loadFloats(src + at, n - i)), n - i)
  }
}

/** Computed in float32, rounded once. */
export function reduceHalf(op: i32, format: Half, dst: usize, src: usize, n: usize): void {
  for (let i: usize = 0; i < n; i += 4) {
    const at = i << 1
    const a = widen(format, loadHalves(dst + at, n - i))
    const b = widen(format, loadHalves(src + at, n - i))
    storeHalves(dst + at, narrow(format, combineFloats(op, a, b)), n - i)
  }
}

/** dst[i] = round(dst[i] · s). */
export function scaleHalf(format: Half, dst: usize, n: usize, s: f32): void {
  const factor = f32x4.splat(s)
  for (let i: usize = 0; i < n; i += 4) {
    const at = i << 1
    storeHalves(dst + at, narrow(format, f32x4.mul(widen(format, loadHalves(dst + at, n - i)), factor)), n - i)
  }
}

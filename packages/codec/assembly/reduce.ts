// In-place reductions of the element types that collectives sum: dst = dst ∘ src. min and max of a NaN and
// anything is NaN. 16-bit types are computed in float32 and rounded once per operation.

import { BFloat16, Float16, Halves } from './halves'

const SUM: u32 = 0
const MIN: u32 = 1
const MAX: u32 = 2

/** Inlined into one function for each op: three loops in one function are merged into one that computes all three ops and selects. */
class Loops {
  @inline
  static floats(op: u32, a: v128, b: v128): v128 {
    if (op == SUM) return f32x4.add(a, b)
    return op == MIN ? f32x4.min(a, b) : f32x4.max(a, b)
  }

  @inline
  static ints(op: u32, a: v128, b: v128): v128 {
    if (op == SUM) return i32x4.add(a, b)
    return op == MIN ? i32x4.min_s(a, b) : i32x4.max_s(a, b)
  }

  @inline
  static lanes<T>(op: u32, a: v128, b: v128): v128 {
    return isFloat<T>() ? Loops.floats(op, a, b) : Loops.ints(op, a, b)
  }

  /** Elements of 4 B: T is f32 or i32. */
  @inline
  static words<T>(op: u32, dst: usize, src: usize, n: usize): void {
    const vectors = dst + ((n & ~15) << 2)
    const end = dst + (n << 2)
    for (; dst < vectors; dst += 64, src += 64) {
      v128.store(dst, Loops.lanes<T>(op, v128.load(dst), v128.load(src)))
      v128.store(dst, Loops.lanes<T>(op, v128.load(dst, 16), v128.load(src, 16)), 16)
      v128.store(dst, Loops.lanes<T>(op, v128.load(dst, 32), v128.load(src, 32)), 32)
      v128.store(dst, Loops.lanes<T>(op, v128.load(dst, 48), v128.load(src, 48)), 48)
    }
    for (; dst < end; dst += 4, src += 4) {
      v128.store32_lane(dst, Loops.lanes<T>(op, v128.load32_splat(dst), v128.load32_splat(src)), 0)
    }
  }

  @inline
  static halves<F>(op: u32, dst: usize, src: usize, n: usize): void {
    const vectors = dst + ((n & ~7) << 1)
    const end = dst + (n << 1)
    for (; dst < vectors; dst += 16, src += 16) {
      const a0 = Halves.widen<F>(v128.load16x4_u(dst))
      const b0 = Halves.widen<F>(v128.load16x4_u(src))
      const a1 = Halves.widen<F>(v128.load16x4_u(dst, 8))
      const b1 = Halves.widen<F>(v128.load16x4_u(src, 8))
      const lo = Halves.narrow<F>(Loops.floats(op, a0, b0))
      const hi = Halves.narrow<F>(Loops.floats(op, a1, b1))
      v128.store(dst, i16x8.narrow_i32x4_u(lo, hi))
    }
    for (; dst < end; dst += 2, src += 2) {
      const a = Halves.widen<F>(i32x4.splat(load<u16>(dst)))
      const b = Halves.widen<F>(i32x4.splat(load<u16>(src)))
      v128.store16_lane(dst, Halves.narrow<F>(Loops.floats(op, a, b)), 0)
    }
  }
}

export function sumFloat32(dst: usize, src: usize, n: usize): void {
  Loops.words<f32>(SUM, dst, src, n)
}
export function sumInt32(dst: usize, src: usize, n: usize): void {
  Loops.words<i32>(SUM, dst, src, n)
}
export function sumFloat16(dst: usize, src: usize, n: usize): void {
  Loops.halves<Float16>(SUM, dst, src, n)
}
export function sumBFloat16(dst: usize, src: usize, n: usize): void {
  Loops.halves<BFloat16>(SUM, dst, src, n)
}
export function minFloat32(dst: usize, src: usize, n: usize): void {
  Loops.words<f32>(MIN, dst, src, n)
}
export function minInt32(dst: usize, src: usize, n: usize): void {
  Loops.words<i32>(MIN, dst, src, n)
}
export function minFloat16(dst: usize, src: usize, n: usize): void {
  Loops.halves<Float16>(MIN, dst, src, n)
}
export function minBFloat16(dst: usize, src: usize, n: usize): void {
  Loops.halves<BFloat16>(MIN, dst, src, n)
}
export function maxFloat32(dst: usize, src: usize, n: usize): void {
  Loops.words<f32>(MAX, dst, src, n)
}
export function maxInt32(dst: usize, src: usize, n: usize): void {
  Loops.words<i32>(MAX, dst, src, n)
}
export function maxFloat16(dst: usize, src: usize, n: usize): void {
  Loops.halves<Float16>(MAX, dst, src, n)
}
export function maxBFloat16(dst: usize, src: usize, n: usize): void {
  Loops.halves<BFloat16>(MAX, dst, src, n)
}

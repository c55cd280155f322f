// Element-wise kernels over float32. Pointers are byte offsets into the imported memory, counts are elements.
// Unrolled four vectors (64 bytes) deep; any count and any pointer is accepted.

/** dst[i] += src[i]; equal or disjoint ranges. */
export function add(dst: usize, src: usize, n: usize): void {
  let p = dst
  let q = src
  const blocks = dst + ((n & ~15) << 2)
  const end = dst + (n << 2)
  for (; p < blocks; p += 64, q += 64) {
    v128.store(p, f32x4.add(v128.load(p), v128.load(q)))
    v128.store(p, f32x4.add(v128.load(p, 16), v128.load(q, 16)), 16)
    v128.store(p, f32x4.add(v128.load(p, 32), v128.load(q, 32)), 32)
    v128.store(p, f32x4.add(v128.load(p, 48), v128.load(q, 48)), 48)
  }
  for (; p < end; p += 4, q += 4) store<f32>(p, load<f32>(p) + load<f32>(q))
}

/** dst[i] *= s. */
export function scale(dst: usize, n: usize, s: f32): void {
  let p = dst
  const blocks = dst + ((n & ~15) << 2)
  const end = dst + (n << 2)
  const sv = f32x4.splat(s)
  for (; p < blocks; p += 64) {
    v128.store(p, f32x4.mul(v128.load(p), sv))
    v128.store(p, f32x4.mul(v128.load(p, 16), sv), 16)
    v128.store(p, f32x4.mul(v128.load(p, 32), sv), 32)
    v128.store(p, f32x4.mul(v128.load(p, 48), sv), 48)
  }
  for (; p < end; p += 4) store<f32>(p, load<f32>(p) * s)
}

/** dst[i] = value. */
export function fill(dst: usize, n: usize, value: f32): void {
  let p = dst
  const blocks = dst + ((n & ~15) << 2)
  const end = dst + (n << 2)
  const x = f32x4.splat(value)
  for (; p < blocks; p += 64) {
    v128.store(p, x)
    v128.store(p, x, 16)
    v128.store(p, x, 32)
    v128.store(p, x, 48)
  }
  for (; p < end; p += 4) store<f32>(p, value)
}

/** dst[i] = src[i]; ranges may overlap. */
export function copy(dst: usize, src: usize, n: usize): void {
  memory.copy(dst, src, n << 2)
}

/** Sum of x[i]² in float64: eight partial sums by i mod 8, joined in order, then the last n mod 8 elements in order. */
export function sumSquares(ptr: usize, n: usize): f64 {
  let p = ptr
  const blocks = ptr + ((n & ~7) << 2)
  const end = ptr + (n << 2)
  let a = f64x2.splat(0)
  let b = f64x2.splat(0)
  let c = f64x2.splat(0)
  let d = f64x2.splat(0)
  for (; p < blocks; p += 32) {
    const x0 = f64x2.promote_low_f32x4(v128.load64_zero(p))
    const x1 = f64x2.promote_low_f32x4(v128.load64_zero(p, 8))
    const x2 = f64x2.promote_low_f32x4(v128.load64_zero(p, 16))
    const x3 = f64x2.promote_low_f32x4(v128.load64_zero(p, 24))
    a = f64x2.add(a, f64x2.mul(x0, x0))
    b = f64x2.add(b, f64x2.mul(x1, x1))
    c = f64x2.add(c, f64x2.mul(x2, x2))
    d = f64x2.add(d, f64x2.mul(x3, x3))
  }
  let sum = f64x2.extract_lane(a, 0) + f64x2.extract_lane(a, 1)
  sum += f64x2.extract_lane(b, 0)
  sum += f64x2.extract_lane(b, 1)
  sum += f64x2.extract_lane(c, 0)
  sum += f64x2.extract_lane(c, 1)
  sum += f64x2.extract_lane(d, 0)
  sum += f64x2.extract_lane(d, 1)
  for (; p < end; p += 4) {
    const x = <f64>load<f32>(p)
    sum += x * x
  }
  return sum
}

/** 1 if any element is NaN or infinite (all exponent bits set), else 0. */
export function hasNonFinite(ptr: usize, n: usize): i32 {
  let p = ptr
  const blocks = ptr + ((n & ~15) << 2)
  const end = ptr + (n << 2)
  const mask = i32x4.splat(0x7f800000)
  for (; p < blocks; p += 64) {
    const x0 = i32x4.eq(v128.and(v128.load(p), mask), mask)
    const x1 = i32x4.eq(v128.and(v128.load(p, 16), mask), mask)
    const x2 = i32x4.eq(v128.and(v128.load(p, 32), mask), mask)
    const x3 = i32x4.eq(v128.and(v128.load(p, 48), mask), mask)
    if (v128.any_true(v128.or(v128.or(x0, x1), v128.or(x2, x3)))) return 1
  }
  for (; p < end; p += 4) if ((load<u32>(p) & 0x7f800000) == 0x7f800000) return 1
  return 0
}

// What the block codecs share: the scale of one block, and the block that has none. Every operation is a single IEEE float32
// operation in a fixed order, so the same input gives the same bits on every machine.

/** Adding and subtracting 1.5 · 2^23 rounds |y| < 2^22 to the nearest integer, ties to even; its low bits hold that integer. */
export const ROUNDER: f32 = 12582912
export const ROUNDER_BITS: i32 = 0x4b400000
const ABS_MASK: u32 = 0x7fffffff
export const NAN_BITS: u32 = 0x7fc00000
/** 2^-126: the least scale whose inverse is finite. */
const LEAST_SCALE: f32 = 1.1754943508222875e-38

/** absmax / levels of m float32, at least 2^-126; NaN if an element is not finite or `levels` scales would not be. */
export function blockScale(src: usize, m: usize, levels: f32): f32 {
  const mask = i32x4.splat(ABS_MASK)
  let a = i32x4.splat(0)
  let b = i32x4.splat(0)
  let c = i32x4.splat(0)
  let d = i32x4.splat(0)
  let p = src
  const vectors = src + ((m & ~15) << 2)
  const end = src + (m << 2)
  // Bits of absolute values order as integers do, with infinity and NaN on top: no NaN is lost in a comparison.
  for (; p < vectors; p += 64) {
    a = i32x4.max_u(a, v128.and(v128.load(p), mask))
    b = i32x4.max_u(b, v128.and(v128.load(p, 16), mask))
    c = i32x4.max_u(c, v128.and(v128.load(p, 32), mask))
    d = i32x4.max_u(d, v128.and(v128.load(p, 48), mask))
  }
  a = i32x4.max_u(i32x4.max_u(a, b), i32x4.max_u(c, d))
  let top = max<u32>(
    max<u32>(<u32>i32x4.extract_lane(a, 0), <u32>i32x4.extract_lane(a, 1)),
    max<u32>(<u32>i32x4.extract_lane(a, 2), <u32>i32x4.extract_lane(a, 3)),
  )
  for (; p < end; p += 4) top = max<u32>(top, load<u32>(p) & ABS_MASK)
  const scale = max<f32>(reinterpret<f32>(top) / levels, LEAST_SCALE)
  return scale * levels < Infinity ? scale : NaN
}

/** A block that decodes to NaN: NaN scale, codes of zero; the source becomes NaN, what was lost counts as nothing. */
export function encodeNonFinite(dst: usize, codeBytes: usize, src: usize, residual: usize, m: usize): void {
  store<u32>(dst, NAN_BITS)
  memory.fill(dst + 4, 0, codeBytes)
  const end = src + (m << 2)
  for (; src < end; src += 4) store<u32>(src, NAN_BITS)
  if (residual != 0) memory.fill(residual, 0, m << 2)
}

export function isNonFinite(scale: f32): bool {
  return (reinterpret<u32>(scale) & 0x7f800000) == 0x7f800000
}

// float16 and bfloat16, four at a time in the low 16 bits of 32-bit lanes. Rounding is to nearest even; NaN stays NaN.

/** Format of a 16-bit float: 0 float16, 1 bfloat16. */
export type Half = i32

export function widenBf16(h: v128): v128 {
  return i32x4.shl(h, 16)
}

export function narrowBf16(x: v128): v128 {
  const odd = v128.and(i32x4.shr_u(x, 16), i32x4.splat(1))
  const rounded = i32x4.shr_u(i32x4.add(i32x4.add(x, i32x4.splat(0x7fff)), odd), 16)
  const quiet = v128.or(i32x4.shr_u(x, 16), i32x4.splat(0x40))
  return v128.bitselect(quiet, rounded, f32x4.ne(x, x))
}

/** Exponents are rebiased as integers; subnormals are made by a float subtraction that is exact. After Giesen, "half_to_float_fast". */
export function widenF16(h: v128): v128 {
  const sign = i32x4.shl(v128.and(h, i32x4.splat(0x8000)), 16)
  const shifted = i32x4.shl(v128.and(h, i32x4.splat(0x7fff)), 13)
  const exponent = v128.and(shifted, i32x4.splat(0x7c00 << 13))
  const normal = i32x4.add(shifted, i32x4.splat((127 - 15) << 23))
  const special = i32x4.add(normal, i32x4.splat((128 - 16) << 23))
  const magic = i32x4.splat(113 << 23)
  const subnormal = f32x4.sub(i32x4.add(normal, i32x4.splat(1 << 23)), magic)
  const isSpecial = i32x4.eq(exponent, i32x4.splat(0x7c00 << 13))
  const isSubnormal = i32x4.eq(exponent, i32x4.splat(0))
  const finite = v128.bitselect(subnormal, normal, isSubnormal)
  return v128.or(v128.bitselect(special, finite, isSpecial), sign)
}

/** Beyond 65519.99… becomes infinity. After Giesen, "float_to_half_fast3_rtne". */
export function narrowF16(x: v128): v128 {
  const sign = v128.and(x, i32x4.splat(0x80000000))
  const magnitude = v128.xor(x, sign)
  const isNaN = i32x4.gt_s(magnitude, i32x4.splat(0x7f800000))
  const special = v128.bitselect(i32x4.splat(0x7e00), i32x4.splat(0x7c00), isNaN)
  const magic = i32x4.splat(0x3f000000)
  const subnormal = i32x4.sub(f32x4.add(magnitude, magic), magic)
  const odd = v128.and(i32x4.shr_u(magnitude, 13), i32x4.splat(1))
  const rebiased = i32x4.add(i32x4.add(magnitude, i32x4.splat(((15 - 127) << 23) + 0xfff)), odd)
  const normal = i32x4.shr_u(rebiased, 13)
  const isSubnormal = i32x4.lt_s(magnitude, i32x4.splat(113 << 23))
  const isSpecial = i32x4.ge_s(magnitude, i32x4.splat((127 + 16) << 23))
  const finite = v128.bitselect(subnormal, normal, isSubnormal)
  return v128.or(v128.bitselect(special, finite, isSpecial), i32x4.shr_u(sign, 16))
}

export function widen(format: Half, h: v128): v128 {
  return format == 0 ? widenF16(h) : widenBf16(h)
}

export function narrow(format: Half, x: v128): v128 {
  return format == 0 ? narrowF16(x) : narrowBf16(x)
}

/** Four 16-bit values as 32-bit lanes; only `left` exist. */
export function loadHalves(p: usize, left: usize): v128 {
  if (left >= 4) return i32x4.extend_low_i16x8_u(v128.load64_zero(p))
  let v = i32x4.splat(0)
  if (left > 0) v = i32x4.replace_lane(v, 0, <i32>load<u16>(p))
  if (left > 1) v = i32x4.replace_lane(v, 1, <i32>load<u16>(p, 2))
  if (left > 2) v = i32x4.replace_lane(v, 2, <i32>load<u16>(p, 4))
  return v
}

export function storeHalves(p: usize, v: v128, left: usize): void {
  if (left >= 4) {
    v128.store64_lane(p, i16x8.narrow_i32x4_u(v, v), 0)
    return
  }
  if (left > 0) store<u16>(p, <u16>i32x4.extract_lane(v, 0))
  if (left > 1) store<u16>(p, <u16>i32x4.extract_lane(v, 1), 2)
  if (left > 2) store<u16>(p, <u16>i32x4.extract_lane(v, 2), 4)
}

/** Four float32; only `left` exist, the others are 0. */
export function loadFloats(p: usize, left: usize): v128 {
  if (left >= 4) return v128.load(p)
  let v = f32x4.splat(0)
  if (left > 0) v = f32x4.replace_lane(v, 0, load<f32>(p))
  if (left > 1) v = f32x4.replace_lane(v, 1, load<f32>(p, 4))
  if (left > 2) v = f32x4.replace_lane(v, 2, load<f32>(p, 8))
  return v
}

export function storeFloats(p: usize, v: v128, left: usize): void {
  if (left >= 4) {
    v128.store(p, v)
    return
  }
  if (left > 0) store<f32>(p, f32x4.extract_lane(v, 0))
  if (left > 1) store<f32>(p, f32x4.extract_lane(v, 1), 4)
  if (left > 2) store<f32>(p, f32x4.extract_lane(v, 2), 8)
}

// Block int4: 64 elements share a float32 scale = absmax / 7; then two codes a byte, the even element in the low half, padded to 4 B.

import { blockScale, encodeNonFinite, isNonFinite, ROUNDER, ROUNDER_BITS } from './block-scale'

const BLOCK: usize = 64
const CODE_BYTES: usize = 32

function encodeBlock(dst: usize, src: usize, residual: usize, m: usize): i32 {
  const scale = blockScale(src, m, 7)
  const padded = ((m + 7) >> 3) << 2
  if (scale != scale) {
    encodeNonFinite(dst, padded, src, residual, m)
    return 1
  }
  const inverse: f32 = 1 / scale
  store<f32>(dst, scale)
  let q = dst + 4
  let p = src
  let e = residual
  const vectors = src + ((m & ~15) << 2)
  const end = src + (m << 2)
  const iv = f32x4.splat(inverse)
  const sv = f32x4.splat(scale)
  const rv = f32x4.splat(ROUNDER)
  const rb = i32x4.splat(ROUNDER_BITS)
  const nibbles = i8x16.splat(15)
  for (; p < vectors; p += 64, q += 8) {
    const x0 = v128.load(p)
    const x1 = v128.load(p, 16)
    const x2 = v128.load(p, 32)
    const x3 = v128.load(p, 48)
    const y0 = f32x4.add(f32x4.mul(x0, iv), rv)
    const y1 = f32x4.add(f32x4.mul(x1, iv), rv)
    const y2 = f32x4.add(f32x4.mul(x2, iv), rv)
    const y3 = f32x4.add(f32x4.mul(x3, iv), rv)
    const lo = i16x8.narrow_i32x4_s(i32x4.sub(y0, rb), i32x4.sub(y1, rb))
    const hi = i16x8.narrow_i32x4_s(i32x4.sub(y2, rb), i32x4.sub(y3, rb))
    const codes = v128.and(i8x16.narrow_i16x8_s(lo, hi), nibbles)
    const pairs = v128.and(v128.or(codes, i16x8.shr_u(codes, 4)), i16x8.splat(255))
    v128.store64_lane(q, i8x16.narrow_i16x8_u(pairs, pairs), 0)
    const d0 = f32x4.mul(f32x4.sub(y0, rv), sv)
    const d1 = f32x4.mul(f32x4.sub(y1, rv), sv)
    const d2 = f32x4.mul(f32x4.sub(y2, rv), sv)
    const d3 = f32x4.mul(f32x4.sub(y3, rv), sv)
    v128.store(p, d0)
    v128.store(p, d1, 16)
    v128.store(p, d2, 32)
    v128.store(p, d3, 48)
    if (residual != 0) {
      v128.store(e, f32x4.sub(x0, d0))
      v128.store(e, f32x4.sub(x1, d1), 16)
      v128.store(e, f32x4.sub(x2, d2), 32)
      v128.store(e, f32x4.sub(x3, d3), 48)
      e += 64
    }
  }
  const stop = dst + 4 + padded
  if (q < stop) memory.fill(q, 0, stop - q)
  for (let shift: u32 = 0; p < end; p += 4, shift ^= 4) {
    const x = load<f32>(p)
    const y: f32 = x * inverse + ROUNDER
    store<u8>(q, load<u8>(q) | (((reinterpret<i32>(y) - ROUNDER_BITS) & 15) << shift))
    if (shift == 4) q++
    const d: f32 = (y - ROUNDER) * scale
    store<f32>(p, d)
    if (residual != 0) {
      store<f32>(e, x - d)
      e += 4
    }
  }
  return 0
}

/** As encodeInt8. */
export function encodeInt4(dst: usize, src: usize, residual: usize, n: usize): i32 {
  let flag: i32 = 0
  for (let i: usize = 0; i < n; i += BLOCK) {
    const at = i << 2
    flag |= encodeBlock(dst, src + at, residual != 0 ? residual + at : 0, min<usize>(BLOCK, n - i))
    dst += 4 + CODE_BYTES
  }
  return flag
}

/** Sixteen codes of 8 bytes as signed bytes. */
function unpack(q: usize): v128 {
  const pairs = v128.load8x8_u(q)
  const codes = v128.and(v128.or(pairs, i16x8.shl(pairs, 4)), i8x16.splat(15))
  return i8x16.sub(v128.xor(codes, i8x16.splat(8)), i8x16.splat(8))
}

function codeAt(codes: usize, i: usize): f32 {
  return <f32>(((<i32>load<u8>(codes + (i >> 1))) << (28 - ((<i32>i & 1) << 2))) >> 28)
}

/** dst[i] = decoded. */
export function decodeInt4(dst: usize, src: usize, n: usize): i32 {
  let flag: i32 = 0
  for (let i: usize = 0; i < n; i += BLOCK) {
    const m = min<usize>(BLOCK, n - i)
    const scale = load<f32>(src)
    flag |= i32(isNonFinite(scale))
    const sv = f32x4.splat(scale)
    let j: usize = 0
    for (; j < (m & ~15); j += 16, dst += 64) {
      const codes = unpack(src + 4 + (j >> 1))
      const lo = i16x8.extend_low_i8x16_s(codes)
      const hi = i16x8.extend_high_i8x16_s(codes)
      v128.store(dst, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(lo)), sv))
      v128.store(dst, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(lo)), sv), 16)
      v128.store(dst, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(hi)), sv), 32)
      v128.store(dst, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(hi)), sv), 48)
    }
    for (; j < m; j++, dst += 4) store<f32>(dst, codeAt(src + 4, j) * scale)
    src += 4 + CODE_BYTES
  }
  return flag
}

/** dst[i] += decoded. */
export function decodeAddInt4(dst: usize, src: usize, n: usize): i32 {
  let flag: i32 = 0
  for (let i: usize = 0; i < n; i += BLOCK) {
    const m = min<usize>(BLOCK, n - i)
    const scale = load<f32>(src)
    flag |= i32(isNonFinite(scale))
    const sv = f32x4.splat(scale)
    let j: usize = 0
    for (; j < (m & ~15); j += 16, dst += 64) {
      const codes = unpack(src + 4 + (j >> 1))
      const lo = i16x8.extend_low_i8x16_s(codes)
      const hi = i16x8.extend_high_i8x16_s(codes)
      const d0 = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(lo)), sv)
      const d1 = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(lo)), sv)
      const d2 = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(hi)), sv)
      const d3 = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(hi)), sv)
      v128.store(dst, f32x4.add(v128.load(dst), d0))
      v128.store(dst, f32x4.add(v128.load(dst, 16), d1), 16)
      v128.store(dst, f32x4.add(v128.load(dst, 32), d2), 32)
      v128.store(dst, f32x4.add(v128.load(dst, 48), d3), 48)
    }
    for (; j < m; j++, dst += 4) store<f32>(dst, load<f32>(dst) + codeAt(src + 4, j) * scale)
    src += 4 + CODE_BYTES
  }
  return flag
}

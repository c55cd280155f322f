// Block int8: 256 elements share a float32 scale = absmax / 127; then one signed byte each, padded with zeros to 4 B.

import { blockScale, encodeNonFinite, isNonFinite, ROUNDER, ROUNDER_BITS } from './block-scale'

const BLOCK: usize = 256

function encodeBlock(dst: usize, src: usize, residual: usize, m: usize): i32 {
  const scale = blockScale(src, m, 127)
  const padded = (m + 3) & ~3
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
  for (; p < vectors; p += 64, q += 16) {
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
    v128.store(q, i8x16.narrow_i16x8_s(lo, hi))
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
  for (; p < end; p += 4, q++) {
    const x = load<f32>(p)
    const y: f32 = x * inverse + ROUNDER
    store<i8>(q, <i8>(reinterpret<i32>(y) - ROUNDER_BITS))
    const d: f32 = (y - ROUNDER) * scale
    store<f32>(p, d)
    if (residual != 0) {
      store<f32>(e, x - d)
      e += 4
    }
  }
  const stop = dst + 4 + padded
  for (; q < stop; q++) store<u8>(q, 0)
  return 0
}

/** Encodes n float32 into dst and replaces them by what decoding gives; residual[i] = source - decoded unless it is 0. */
export function encodeInt8(dst: usize, src: usize, residual: usize, n: usize): i32 {
  let flag: i32 = 0
  for (let i: usize = 0; i < n; i += BLOCK) {
    const at = i << 2
    flag |= encodeBlock(dst, src + at, residual != 0 ? residual + at : 0, min<usize>(BLOCK, n - i))
    dst += 4 + BLOCK
  }
  return flag
}

/** dst[i] = decoded. */
export function decodeInt8(dst: usize, src: usize, n: usize): i32 {
  let flag: i32 = 0
  for (let i: usize = 0; i < n; i += BLOCK) {
    const m = min<usize>(BLOCK, n - i)
    const scale = load<f32>(src)
    flag |= i32(isNonFinite(scale))
    const sv = f32x4.splat(scale)
    let q = src + 4
    const vectors = q + (m & ~15)
    const end = q + m
    for (; q < vectors; q += 16, dst += 64) {
      const lo = i16x8.extend_low_i8x16_s(v128.load(q))
      const hi = i16x8.extend_high_i8x16_s(v128.load(q))
      v128.store(dst, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(lo)), sv))
      v128.store(dst, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(lo)), sv), 16)
      v128.store(dst, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(hi)), sv), 32)
      v128.store(dst, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(hi)), sv), 48)
    }
    for (; q < end; q++, dst += 4) store<f32>(dst, <f32>load<i8>(q) * scale)
    src += 4 + BLOCK
  }
  return flag
}

/** dst[i] += decoded. */
export function decodeAddInt8(dst: usize, src: usize, n: usize): i32 {
  let flag: i32 = 0
  for (let i: usize = 0; i < n; i += BLOCK) {
    const m = min<usize>(BLOCK, n - i)
    const scale = load<f32>(src)
    flag |= i32(isNonFinite(scale))
    const sv = f32x4.splat(scale)
    let q = src + 4
    const vectors = q + (m & ~15)
    const end = q + m
    for (; q < vectors; q += 16, dst += 64) {
      const lo = i16x8.extend_low_i8x16_s(v128.load(q))
      const hi = i16x8.extend_high_i8x16_s(v128.load(q))
      const d0 = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(lo)), sv)
      const d1 = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(lo)), sv)
      const d2 = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(hi)), sv)
      const d3 = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(hi)), sv)
      v128.store(dst, f32x4.add(v128.load(dst), d0))
      v128.store(dst, f32x4.add(v128.load(dst, 16), d1), 16)
      v128.store(dst, f32x4.add(v128.load(dst, 32), d2), 32)
      v128.store(dst, f32x4.add(v128.load(dst, 48), d3), 48)
    }
    for (; q < end; q++, dst += 4) store<f32>(dst, load<f32>(dst) + <f32>load<i8>(q) * scale)
    src += 4 + BLOCK
  }
  return flag
}

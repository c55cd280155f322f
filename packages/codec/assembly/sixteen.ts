// Codecs fp16 and bf16: 2 B an element, no scale; an odd count is padded with one zero.

import { BFloat16, Float16, Halves } from './halves'

function encode<F>(dst: usize, src: usize, residual: usize, n: usize): i32 {
  let bad = i32x4.splat(0)
  let p = src
  let e = residual
  const vectors = src + ((n & ~7) << 2)
  const end = src + (n << 2)
  for (; p < vectors; p += 32, dst += 16) {
    const x0 = v128.load(p)
    const x1 = v128.load(p, 16)
    const h0 = Halves.narrow<F>(x0)
    const h1 = Halves.narrow<F>(x1)
    v128.store(dst, i16x8.narrow_i32x4_u(h0, h1))
    const d0 = Halves.widen<F>(h0)
    const d1 = Halves.widen<F>(h1)
    bad = v128.or(bad, v128.or(Halves.nonFinite(d0), Halves.nonFinite(d1)))
    v128.store(p, d0)
    v128.store(p, d1, 16)
    if (residual != 0) {
      v128.store(e, Halves.residual(x0, d0))
      v128.store(e, Halves.residual(x1, d1), 16)
      e += 32
    }
  }
  for (; p < end; p += 4, dst += 2) {
    const x0 = v128.load32_splat(p)
    const h0 = Halves.narrow<F>(x0)
    v128.store16_lane(dst, h0, 0)
    const d0 = Halves.widen<F>(h0)
    bad = v128.or(bad, Halves.nonFinite(d0))
    v128.store32_lane(p, d0, 0)
    if (residual != 0) {
      v128.store32_lane(e, Halves.residual(x0, d0), 0)
      e += 4
    }
  }
  if ((n & 1) != 0) store<u16>(dst, 0)
  return i32(v128.any_true(bad))
}

function decode<F>(dst: usize, src: usize, n: usize): i32 {
  let bad = i32x4.splat(0)
  const vectors = dst + ((n & ~7) << 2)
  const end = dst + (n << 2)
  for (; dst < vectors; dst += 32, src += 16) {
    const d0 = Halves.widen<F>(v128.load16x4_u(src))
    const d1 = Halves.widen<F>(v128.load16x4_u(src, 8))
    bad = v128.or(bad, v128.or(Halves.nonFinite(d0), Halves.nonFinite(d1)))
    v128.store(dst, d0)
    v128.store(dst, d1, 16)
  }
  for (; dst < end; dst += 4, src += 2) {
    const d0 = Halves.widen<F>(i32x4.splat(load<u16>(src)))
    bad = v128.or(bad, Halves.nonFinite(d0))
    v128.store32_lane(dst, d0, 0)
  }
  return i32(v128.any_true(bad))
}

function decodeAdd<F>(dst: usize, src: usize, n: usize): i32 {
  let bad = i32x4.splat(0)
  const vectors = dst + ((n & ~7) << 2)
  const end = dst + (n << 2)
  for (; dst < vectors; dst += 32, src += 16) {
    const d0 = Halves.widen<F>(v128.load16x4_u(src))
    const d1 = Halves.widen<F>(v128.load16x4_u(src, 8))
    bad = v128.or(bad, v128.or(Halves.nonFinite(d0), Halves.nonFinite(d1)))
    v128.store(dst, f32x4.add(v128.load(dst), d0))
    v128.store(dst, f32x4.add(v128.load(dst, 16), d1), 16)
  }
  for (; dst < end; dst += 4, src += 2) {
    const d0 = Halves.widen<F>(i32x4.splat(load<u16>(src)))
    bad = v128.or(bad, Halves.nonFinite(d0))
    v128.store32_lane(dst, f32x4.add(v128.load32_splat(dst), d0), 0)
  }
  return i32(v128.any_true(bad))
}

/** As encodeInt8; the residual of an element that becomes infinity or NaN is 0. */
export function encodeFp16(dst: usize, src: usize, residual: usize, n: usize): i32 {
  return encode<Float16>(dst, src, residual, n)
}
export function decodeFp16(dst: usize, src: usize, n: usize): i32 {
  return decode<Float16>(dst, src, n)
}
export function decodeAddFp16(dst: usize, src: usize, n: usize): i32 {
  return decodeAdd<Float16>(dst, src, n)
}

export function encodeBf16(dst: usize, src: usize, residual: usize, n: usize): i32 {
  return encode<BFloat16>(dst, src, residual, n)
}
export function decodeBf16(dst: usize, src: usize, n: usize): i32 {
  return decode<BFloat16>(dst, src, n)
}
export function decodeAddBf16(dst: usize, src: usize, n: usize): i32 {
  return decodeAdd<BFloat16>(dst, src, n)
}

// Codecs: float32 to what travels, and back. Encoding also puts what decoding gives in the place of the source. Layouts are in the
// README of @skein/codec. Each returns 1 where something was not finite, else 0.
import { Half, loadFloats, loadHalves, narrow, storeFloats, storeHalves, widen } from './half'

const smallestNormal: f32 = 1.17549435e-38
const int8Block: usize = 256
const int4Block: usize = 64

/** Largest magnitude of n floats; NaN where one is. */
function absMax(src: usize, n: usize): f32 {
  let a = f32x4.splat(0)
  let b = f32x4.splat(0)
  let i: usize = 0
  for (; i + 8 <= n; i += 8) {
    a = f32x4.max(a, f32x4.abs(v128.load(src + (i << 2))))
    b = f32x4.max(b, f32x4.abs(v128.load(src + (i << 2), 16)))
  }
  for (; i < n; i += 4) a = f32x4.max(a, f32x4.abs(loadFloats(src + (i << 2), n - i)))
  a = f32x4.max(a, b)
  return max<f32>(
    max<f32>(f32x4.extract_lane(a, 0), f32x4.extract_lane(a, 1)),
    max<f32>(f32x4.extract_lane(a, 2), f32x4.extract_lane(a, 3)),
  )
}

/** The scale of a block for codes up to `levels`: NaN where a value is not finite, 1 where all are (nearly) zero. */
function scaleOf(largest: f32, levels: f32): f32 {
  if (!(largest < Infinity)) return NaN
  const scale = largest / levels
  return scale < smallestNormal ? 1 : scale
}

/** Four codes as integers; puts what they mean in the place of the source, and what was lost at `residual`, unless that is 0. */
function quantise(src: usize, residual: usize, left: usize, inverse: v128, scale: v128): v128 {
  const x = loadFloats(src, left)
  const code = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(x, inverse)))
  const decoded = f32x4.mul(f32x4.convert_i32x4_s(code), scale)
  storeFloats(src, decoded, left)
  if (residual != 0) storeFloats(residual, f32x4.sub(x, decoded), left)
  return code
}

/** A block that holds NaN or infinity: all of it becomes NaN, and nothing is its residual. */
function spoil(src: usize, residual: usize, n: usize): void {
  for (let i: usize = 0; i < n; i++) {
    store<f32>(src + (i << 2), NaN)
    if (residual != 0) store<f32>(residual + (i << 2), 0)
  }
}

function step(base: usize, i: usize): usize {
  return base == 0 ? 0 : base + (i << 2)
}

export function encodeInt8(dst: usize, src: usize, residual: usize, n: usize): i32 {
  let flag = 0
  for (let start: usize = 0; start < n; start += int8Block) {
    const m = min<usize>(int8Block, n - start)
    const from = src + (start << 2)
    const lost = step(residual, start)
    const scale = scaleOf(absMax(from, m), 127)
    store<f32>(dst, scale)
    const codes = dst + 4
    if (scale != scale) {
      flag = 1
      memory.fill(codes, 0, (m + 3) & ~3)
      spoil(from, lost, m)
    } else {
      const inverse = f32x4.splat(<f32>1 / scale)
      const scales = f32x4.splat(scale)
      let i: usize = 0
      for (; i + 16 <= m; i += 16) {
        const p = from + (i << 2)
        const a = quantise(p, step(lost, i), 4, inverse, scales)
        const b = quantise(p + 16, step(lost, i + 4), 4, inverse, scales)
        const c = quantise(p + 32, step(lost, i + 8), 4, inverse, scales)
        const d = quantise(p + 48, step(lost, i + 12), 4, inverse, scales)
        v128.store(codes + i, i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d)))
      }
      for (; i < m; i += 4) {
        const a = quantise(from + (i << 2), step(lost, i), m - i, inverse, scales)
        const packed = i16x8.narrow_i32x4_s(a, a)
        store<i32>(codes + i, i32x4.extract_lane(i8x16.narrow_i16x8_s(packed, packed), 0))
      }
    }
    dst = codes + ((m + 3) & ~3)
  }
  return flag
}

function put(dst: usize, codes: v128, scale: v128, left: usize, adds: bool): void {
  const value = f32x4.mul(f32x4.convert_i32x4_s(codes), scale)
  storeFloats(dst, adds ? f32x4.add(loadFloats(dst, left), value) : value, left)
}

export function decodeInt8(dst: usize, src: usize, n: usize, adds: bool): i32 {
  let flag = 0
  for (let start: usize = 0; start < n; start += int8Block) {
    const m = min<usize>(int8Block, n - start)
    const to = dst + (start << 2)
    const value = load<f32>(src)
    if (!(value < Infinity)) flag = 1
    const scale = f32x4.splat(value)
    const codes = src + 4
    let i: usize = 0
    for (; i + 16 <= m; i += 16) {
      const c = v128.load(codes + i)
      const low = i16x8.extend_low_i8x16_s(c)
      const high = i16x8.extend_high_i8x16_s(c)
      const p = to + (i << 2)
      put(p, i32x4.extend_low_i16x8_s(low), scale, 4, adds)
      put(p + 16, i32x4.extend_high_i16x8_s(low), scale, 4, adds)
      put(p + 32, i32x4.extend_low_i16x8_s(high), scale, 4, adds)
      put(p + 48, i32x4.extend_high_i16x8_s(high), scale, 4, adds)
    }
    for (; i < m; i += 4) {
      const c = i16x8.extend_low_i8x16_s(v128.load32_zero(codes + i))
      put(to + (i << 2), i32x4.extend_low_i16x8_s(c), scale, m - i, adds)
    }
    src = codes + ((m + 3) & ~3)
  }
  return flag
}

/** Codes -7 … 7 as nibbles of 1 … 15, the even element in the low one; a block is padded to whole words. */
export function encodeInt4(dst: usize, src: usize, residual: usize, n: usize): i32 {
  let flag = 0
  for (let start: usize = 0; start < n; start += int4Block) {
    const m = min<usize>(int4Block, n - start)
    const from = src + (start << 2)
    const lost = step(residual, start)
    const scale = scaleOf(absMax(from, m), 7)
    const words = (m + 7) >> 3
    store<f32>(dst, scale)
    const codes = dst + 4
    if (scale != scale) {
      flag = 1
      memory.fill(codes, 0, words << 2)
      spoil(from, lost, m)
    } else {
      const inverse = f32x4.splat(<f32>1 / scale)
      const scales = f32x4.splat(scale)
      for (let w: usize = 0; w < words; w++) {
        const i = w << 3
        const p = from + (i << 2)
        const a = quantise(p, step(lost, i), m - i, inverse, scales)
        const b = m - i > 4 ? quantise(p + 16, step(lost, i + 4), m - i - 4, inverse, scales) : i32x4.splat(0)
        const bytes = i8x16.add(i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(a, b), i16x8.splat(0)), i8x16.splat(8))
        const pairs = v128.or(bytes, i16x8.shr_u(bytes, 4))
        const packed = i8x16.shuffle(pairs, pairs, 0, 2, 4, 6, 0, 2, 4, 6, 0, 2, 4, 6, 0, 2, 4, 6)
        store<i32>(codes + (w << 2), i32x4.extract_lane(packed, 0))
      }
    }
    dst = codes + (words << 2)
  }
  return flag
}

export function decodeInt4(dst: usize, src: usize, n: usize, adds: bool): i32 {
  let flag = 0
  for (let start: usize = 0; start < n; start += int4Block) {
    const m = min<usize>(int4Block, n - start)
    const to = dst + (start << 2)
    const value = load<f32>(src)
    if (!(value < Infinity)) flag = 1
    const scale = f32x4.splat(value)
    const codes = src + 4
    const words = (m + 7) >> 3
    for (let w: usize = 0; w < words; w++) {
      const i = w << 3
      const c = v128.load32_zero(codes + (w << 2))
      const low = v128.and(c, i8x16.splat(15))
      const high = i8x16.shr_u(c, 4)
      const bytes = i8x16.shuffle(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 0, 16, 1, 17, 2, 18, 3, 19)
      const signed = i16x8.extend_low_i8x16_s(i8x16.sub(bytes, i8x16.splat(8)))
      put(to + (i << 2), i32x4.extend_low_i16x8_s(signed), scale, m - i, adds)
      if (m - i > 4) put(to + (i << 2) + 16, i32x4.extend_high_i16x8_s(signed), scale, m - i - 4, adds)
    }
    src = codes + (words << 2)
  }
  return flag
}

export function encodeHalf(format: Half, dst: usize, src: usize, residual: usize, n: usize): i32 {
  let bad = i32x4.splat(0)
  const exponent = i32x4.splat(0x7f800000)
  for (let i: usize = 0; i < n; i += 4) {
    const p = src + (i << 2)
    const x = loadFloats(p, n - i)
    const h = narrow(format, x)
    const decoded = widen(format, h)
    bad = v128.or(bad, i32x4.eq(v128.and(decoded, exponent), exponent))
    storeHalves(dst + (i << 1), h, n - i)
    storeFloats(p, decoded, n - i)
    if (residual != 0) storeFloats(residual + (i << 2), f32x4.sub(x, decoded), n - i)
  }
  return v128.any_true(bad) ? 1 : 0
}

export function decodeHalf(format: Half, dst: usize, src: usize, n: usize, adds: bool): i32 {
  let bad = i32x4.splat(0)
  const exponent = i32x4.splat(0x7f800000)
  for (let i: usize = 0; i < n; i += 4) {
    const p = dst + (i << 2)
    const x = widen(format, loadHalves(src + (i << 1), n - i))
    bad = v128.or(bad, i32x4.eq(v128.and(x, exponent), exponent))
    storeFloats(p, adds ? f32x4.add(loadFloats(p, n - i), x) : x, n - i)
  }
  return v128.any_true(bad) ? 1 : 0
}

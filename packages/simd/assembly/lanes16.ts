// The hash "lanes16": sixteen uint32 lanes over 64-byte blocks, folded to 64 bits. Specified in this package's README.

/** acc = rotl(acc ^ word, 13) · 0x9E3779B1 in each lane. */
function round(acc: v128, words: v128): v128 {
  const x = v128.xor(acc, words)
  return i32x4.mul(v128.or(i32x4.shl(x, 13), i32x4.shr_u(x, 19)), i32x4.splat(0x9e3779b1))
}

/** The next 16 bytes, of which only `left` exist; the rest is zero. */
function loadPartial(p: usize, left: isize): v128 {
  if (left >= 16) return v128.load(p)
  let lo: u64 = 0
  let hi: u64 = 0
  for (let i: isize = 0; i < left; i++) {
    const byte = <u64>load<u8>(p + i)
    if (i < 8) lo |= byte << ((<u64>i) << 3)
    else hi |= byte << ((<u64>i - 8) << 3)
  }
  return i64x2.replace_lane(i64x2.splat(lo), 1, hi)
}

/** The finalizer of MurmurHash3 (Appleby). */
function fmix(x: u32): u32 {
  x = (x ^ (x >>> 16)) * 0x85ebca6b
  x = (x ^ (x >>> 13)) * 0xc2b2ae35
  return x ^ (x >>> 16)
}

/** Mixes one lane into h1 (high half) and h2 (low half of the result). */
function fold(h: u64, lane: u32): u64 {
  const h1 = fmix(<u32>(h >>> 32) ^ lane)
  const h2 = fmix((<u32>h ^ rotl<u32>(lane, 16)) + h1)
  return ((<u64>h1) << 32) | <u64>h2
}

function foldVector(h: u64, v: v128): u64 {
  h = fold(h, i32x4.extract_lane(v, 0))
  h = fold(h, i32x4.extract_lane(v, 1))
  h = fold(h, i32x4.extract_lane(v, 2))
  return fold(h, i32x4.extract_lane(v, 3))
}

/** Hash of `bytes` bytes at `ptr`; high half is `lo` (h1), low half is `hi` (h2). */
export function hash(ptr: usize, bytes: usize, seed: u32): u64 {
  const step = i32x4.splat(0x85ebca77)
  let a = i32x4.add(i32x4.splat(seed), i32x4.mul(step, i32x4(0, 1, 2, 3)))
  let b = i32x4.add(i32x4.splat(seed), i32x4.mul(step, i32x4(4, 5, 6, 7)))
  let c = i32x4.add(i32x4.splat(seed), i32x4.mul(step, i32x4(8, 9, 10, 11)))
  let d = i32x4.add(i32x4.splat(seed), i32x4.mul(step, i32x4(12, 13, 14, 15)))
  let p = ptr
  const blocks = ptr + (bytes & ~63)
  for (; p < blocks; p += 64) {
    a = round(a, v128.load(p))
    b = round(b, v128.load(p, 16))
    c = round(c, v128.load(p, 32))
    d = round(d, v128.load(p, 48))
  }
  const left = <isize>(bytes & 63)
  if (left > 0) {
    a = round(a, loadPartial(p, left))
    b = round(b, loadPartial(p + 16, left - 16))
    c = round(c, loadPartial(p + 32, left - 32))
    d = round(d, loadPartial(p + 48, left - 48))
  }
  const length = <u32>bytes
  let h: u64 = ((<u64>length) << 32) | <u64>(length ^ 0x9e3779b9)
  h = foldVector(h, a)
  h = foldVector(h, b)
  h = foldVector(h, c)
  return foldVector(h, d)
}

let high: u32 = 0

/** As `hash`, for JavaScript without 64-bit integers: returns h1, keeps h2 for `hashHigh`. */
export function hashLow(ptr: usize, bytes: usize, seed: u32): u32 {
  const h = hash(ptr, bytes, seed)
  high = <u32>h
  return <u32>(h >>> 32)
}

/** h2 of the last `hashLow` of this instance. */
export function hashHigh(): u32 {
  return high
}

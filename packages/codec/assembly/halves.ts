// float16 and bfloat16 to float32 and back, four lanes at a time: WebAssembly has no such types. NaN always becomes the one quiet
// positive NaN, so that copies have equal bits. Vector constants are made anew at each use (three instructions in V8), so what can
// be had by shifts is. Static methods, because those can be marked for inlining in a syntax that the linters read.

/** The two formats, told apart by the compiler: both are 16 bits in memory. */
export type Float16 = u16
export type BFloat16 = i16

export class Halves {
  /** The nearest value of the format, ties to even, in the low 16 bits of each lane; the high ones are 0. */
  @inline
  static narrow<F>(x: v128): v128 {
    const isNaN = f32x4.ne(x, x)
    if (isSigned<F>()) {
      const odd = i32x4.shr_u(i32x4.shl(x, 15), 31)
      const rounded = i32x4.shr_u(i32x4.add(x, i32x4.add(odd, i32x4.splat(0x7fff))), 16)
      return v128.bitselect(i32x4.shl(i32x4.shr_u(isNaN, 23), 6), rounded, isNaN)
    }
    const whole = i32x4.shr_u(i32x4.shl(x, 1), 1)
    // From 2^16 on all is infinity, as 2^16 itself becomes below.
    const magnitude = i32x4.min_u(whole, i32x4.splat(143 << 23))
    const leastNormal = i32x4.splat(113 << 23)
    const exponent = i32x4.max_s(i32x4.shl(i32x4.shr_u(magnitude, 23), 23), leastNormal)
    // In 2^(exponent + 13) the last place of float32 is that of float16 in 2^exponent, at least 2^-24: the addition rounds.
    const rounder = i32x4.add(exponent, i32x4.splat(13 << 23))
    const steps = i32x4.sub(f32x4.add(magnitude, rounder), rounder)
    // A carry out of the steps raises the exponent, as it should.
    const h = i32x4.add(i32x4.shr_u(i32x4.sub(exponent, leastNormal), 13), steps)
    const sign = i32x4.shl(i32x4.shr_u(x, 31), 15)
    return v128.or(v128.or(h, v128.andnot(sign, isNaN)), i32x4.shl(i32x4.shr_u(isNaN, 31), 9))
  }

  /** Exact. Lanes hold the format's 16 bits, the high ones 0. */
  @inline
  static widen<F>(h: v128): v128 {
    if (isSigned<F>()) return i32x4.shl(h, 16)
    // The highest exponents of float32 keep infinity and NaN what they are; a product with 2^-112 then brings the rest down.
    const high = i32x4.add(i32x4.shr_u(i32x4.shl(h, 17), 4), i32x4.splat(0xe0 << 23))
    const value = f32x4.mul(high, f32x4.splat(1.925929944387236e-34))
    // A subnormal m · 2^-24 has come out as v = 2^-15 + m · 2^-25, below 2^-14: it is v + (v - 2^-14).
    const excess = f32x4.sub(value, f32x4.splat(6.103515625e-5))
    const magnitude = f32x4.add(value, f32x4.pmin(excess, f32x4.splat(0)))
    return v128.or(magnitude, i32x4.shl(i32x4.shr_u(h, 15), 31))
  }

  /** Some bit set in the float32 lanes that are infinity or NaN, none in the others. */
  @inline
  static nonFinite(x: v128): v128 {
    return f32x4.sub(x, x)
  }

  /** source - decoded, 0 where decoded is not finite. */
  @inline
  static residual(source: v128, decoded: v128): v128 {
    const bad = Halves.nonFinite(decoded)
    return v128.andnot(f32x4.sub(source, decoded), f32x4.ne(bad, bad))
  }
}

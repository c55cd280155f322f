import type { CodecTwin, Flag } from './codec-twin.ts'
import { roundHalfEven } from './round-half-even.ts'

/** An IEEE format of 16 bits, by arithmetic instead of by bits. */
export interface HalfFormat {
  /** Bits of the significand, the hidden one included. */
  readonly precision: number
  /** Exponent of the least normal number. */
  readonly minExponent: number
  readonly infinity: number
  /** The one NaN that is ever written. */
  readonly nan: number
}

export const float16: HalfFormat = { precision: 11, minExponent: -14, infinity: 0x7c00, nan: 0x7e00 }
export const bfloat16: HalfFormat = { precision: 8, minExponent: -126, infinity: 0x7f80, nan: 0x7fc0 }

const word = new DataView(new ArrayBuffer(4))

/** Exponent of a positive float32, -127 for its subnormals: low enough for both formats. */
function exponentOf(x: number): number {
  word.setFloat32(0, x)
  return (word.getUint32(0) >>> 23) - 127
}

/** The 16 bits of the value nearest to the float32 x, ties to even; beyond the largest by half a step or more is infinity. */
export function narrowTwin(x: number, format: HalfFormat): number {
  const { precision, minExponent, infinity, nan } = format
  if (Number.isNaN(x)) return nan
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0
  const magnitude = Math.abs(x)
  if (magnitude === Number.POSITIVE_INFINITY) return sign | infinity
  const exponent = Math.max(exponentOf(magnitude), minExponent)
  const steps = roundHalfEven(magnitude / 2 ** (exponent - precision + 1))
  return sign | Math.min(infinity, (exponent - minExponent) * 2 ** (precision - 1) + steps)
}

/** The value of 16 bits; exact in float32. */
export function widenTwin(bits: number, format: HalfFormat): number {
  const { precision, minExponent, infinity } = format
  const magnitude = bits & 0x7fff
  const hidden = 2 ** (precision - 1)
  const field = Math.floor(magnitude / hidden)
  const fraction = magnitude % hidden
  const value =
    magnitude > infinity
      ? Number.NaN
      : magnitude === infinity
        ? Number.POSITIVE_INFINITY
        : field === 0
          ? fraction * 2 ** (minExponent - precision + 1)
          : (hidden + fraction) * 2 ** (field - 1 + minExponent - precision + 1)
  return (bits & 0x8000) === 0 ? value : -value
}

function halfTwin(format: HalfFormat): CodecTwin {
  const decodeWith = (dst: Float32Array, src: Uint8Array, take: (i: number, decoded: number) => number): Flag => {
    const view = new DataView(src.buffer, src.byteOffset)
    let flag: Flag = 0
    for (let i = 0; i < dst.length; i++) {
      const decoded = widenTwin(view.getUint16(2 * i, true), format)
      if (!Number.isFinite(decoded)) flag = 1
      dst[i] = take(i, decoded)
    }
    return flag
  }
  return {
    encode(dst, src, residual) {
      const view = new DataView(dst.buffer, dst.byteOffset)
      let flag: Flag = 0
      for (const [i, x] of src.entries()) {
        const bits = narrowTwin(x, format)
        const decoded = widenTwin(bits, format)
        view.setUint16(2 * i, bits, true)
        if (!Number.isFinite(decoded)) flag = 1
        if (residual !== undefined) residual[i] = Number.isFinite(decoded) ? x - decoded : 0
        src[i] = decoded
      }
      if (src.length % 2 === 1) view.setUint16(2 * src.length, 0, true)
      return flag
    },
    decode: (dst, src) => decodeWith(dst, src, (_, decoded) => decoded),
    decodeAdd: (dst, src) => decodeWith(dst, src, (i, decoded) => (dst[i] as number) + decoded),
  }
}

export const fp16Twin: CodecTwin = halfTwin(float16)
export const bf16Twin: CodecTwin = halfTwin(bfloat16)

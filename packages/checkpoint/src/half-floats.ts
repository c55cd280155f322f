/** float32 to bfloat16 bits, rounded to nearest even; NaN stays NaN. A fresh uint16 array. */
export function toBfloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const out = new Uint16Array(values.length)
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i] as number
    const isNaN = (word & 0x7fff_ffff) > 0x7f80_0000
    out[i] = isNaN ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16
  }
  return out
}

/** bfloat16 bits to float32, exact. */
export function fromBfloat16(bits: Uint16Array, out: Float32Array): void {
  const words = new Uint32Array(out.buffer, out.byteOffset, out.length)
  for (let i = 0; i < bits.length; i++) words[i] = (bits[i] as number) << 16
}

/** IEEE float16 bits to float32, exact. */
export function fromFloat16(bits: Uint16Array, out: Float32Array): void {
  for (let i = 0; i < bits.length; i++) {
    const half = bits[i] as number
    const exponent = (half >>> 10) & 31
    const fraction = half & 1023
    const sign = half & 0x8000 ? -1 : 1
    if (exponent === 0) out[i] = sign * fraction * 2 ** -24
    else if (exponent === 31) out[i] = fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
    else out[i] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
  }
}

const word = new DataView(new ArrayBuffer(4))

/** The bits of a float32. */
function bitsOf(x: number): number {
  word.setFloat32(0, x)
  return word.getUint32(0)
}

/** float32 to bfloat16 bits, to nearest even; NaN stays NaN. */
export function toBf16(x: number): number {
  const bits = bitsOf(x)
  if (Number.isNaN(x)) return (bits >>> 16) | 0x40
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff
}

export function fromBf16(half: number): number {
  word.setUint32(0, half << 16)
  return word.getFloat32(0)
}

/** float32 to IEEE float16 bits, to nearest even; 65520 and more is infinity. */
export function toF16(x: number): number {
  const sign = (bitsOf(x) >>> 31) << 15
  const magnitude = Math.abs(x)
  if (Number.isNaN(x)) return sign | 0x7e00
  if (magnitude >= 65_520) return sign | 0x7c00
  if (magnitude === 0) return sign
  // One step of the value's own binade, or of the subnormals.
  const exponent = Math.max(-14, Math.floor(Math.log2(magnitude)))
  const step = 2 ** (exponent - 10)
  const exact = magnitude / step
  const floor = Math.floor(exact)
  const rest = exact - floor
  const rounded = rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor
  // Counted in steps, halves lie on one line: a carry into the next binade needs no care.
  return sign | ((exponent + 14) * 1024 + rounded)
}

export function fromF16(half: number): number {
  const exponent = (half >>> 10) & 31
  const fraction = half & 1023
  const sign = half & 0x8000 ? -1 : 1
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

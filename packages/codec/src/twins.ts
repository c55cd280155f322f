import type { CodecName } from './codec.ts'
import { codecs } from './codec.ts'
import { fromBf16, fromF16, toBf16, toF16 } from './half-twins.ts'

const f = Math.fround
const smallestNormal = 2 ** -126

/** Encoded bytes, and what decoding gives. */
export interface Encoded {
  readonly bytes: Uint8Array
  readonly decoded: Float32Array
  /** Whether a value was not finite, or does not fit the codec. */
  readonly nonfinite: boolean
}

/** The codecs in plain TypeScript: the oracle of the kernels, and the definition to read. Same bits. */
export function encodeTwin(name: CodecName, values: Float32Array): Encoded {
  return name === 'int8' || name === 'int4' ? encodeBlocks(name, values) : encodeHalves(name, values)
}

/** n float32 from their encoded form. */
export function decodeTwin(name: CodecName, bytes: Uint8Array, n: number): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const out = new Float32Array(n)
  const { blockElems, encodedBytes } = codecs[name]
  for (let i = 0; i < n; i++) {
    if (name === 'fp16') out[i] = fromF16(view.getUint16(2 * i, true))
    else if (name === 'bf16') out[i] = fromBf16(view.getUint16(2 * i, true))
    else {
      const inBlock = i % blockElems
      const block = encodedBytes(i - inBlock)
      const scale = view.getFloat32(block, true)
      const code =
        name === 'int8'
          ? view.getInt8(block + 4 + inBlock)
          : ((view.getUint8(block + 4 + (inBlock >> 1)) >> (4 * (inBlock % 2))) & 15) - 8
      out[i] = f(code * scale)
    }
  }
  return out
}

function encodeBlocks(name: 'int8' | 'int4', values: Float32Array): Encoded {
  const { blockElems, encodedBytes } = codecs[name]
  const levels = name === 'int8' ? 127 : 7
  const bytes = new Uint8Array(encodedBytes(values.length))
  const view = new DataView(bytes.buffer)
  const decoded = new Float32Array(values.length)
  let nonfinite = false
  for (let start = 0; start < values.length; start += blockElems) {
    const block = values.subarray(start, start + blockElems)
    const at = encodedBytes(start)
    const largest = block.reduce((most, x) => Math.max(most, Math.abs(x)), 0)
    if (!(largest < Number.POSITIVE_INFINITY)) {
      view.setFloat32(at, Number.NaN, true)
      decoded.fill(Number.NaN, start, start + block.length)
      nonfinite = true
      continue
    }
    const exact = f(largest / levels)
    const scale = exact < smallestNormal ? 1 : exact
    view.setFloat32(at, scale, true)
    const inverse = f(1 / scale)
    if (name === 'int4') bytes.fill(0x88, at + 4, at + encodedBytes(block.length))
    for (const [i, x] of block.entries()) {
      // Codes are integers: there is no negative zero among them.
      const code = roundToEven(f(x * inverse)) + 0
      decoded[start + i] = f(code * scale)
      if (name === 'int8') view.setInt8(at + 4 + i, code)
      else {
        const place = at + 4 + (i >> 1)
        const shift = 4 * (i % 2)
        bytes[place] = ((bytes[place] as number) & ~(15 << shift)) | ((code + 8) << shift)
      }
    }
  }
  return { bytes, decoded, nonfinite }
}

function encodeHalves(name: 'fp16' | 'bf16', values: Float32Array): Encoded {
  const [narrow, widen] = name === 'fp16' ? [toF16, fromF16] : [toBf16, fromBf16]
  const bytes = new Uint8Array(codecs[name].encodedBytes(values.length))
  const view = new DataView(bytes.buffer)
  for (const [i, x] of values.entries()) view.setUint16(2 * i, narrow(x), true)
  const decoded = values.map(x => widen(narrow(x)))
  return { bytes, decoded, nonfinite: decoded.some(x => !Number.isFinite(x)) }
}

function roundToEven(x: number): number {
  const floor = Math.floor(x)
  const rest = x - floor
  if (rest === 0.5) return floor % 2 === 0 ? floor : floor + 1
  return rest > 0.5 ? floor + 1 : floor
}

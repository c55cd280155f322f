import type { CodecTwin, Flag } from './codec-twin.ts'
import { roundHalfEven } from './round-half-even.ts'

/**
 * Blocks of `blockElems` float32 that share a scale = absmax / levels, round to nearest even, as the kernels encode them. `put` and
 * `get` say how the codes of one block, each in [-levels, levels], lie in bytes.
 */
export interface BlockFormat {
  readonly blockElems: number
  readonly levels: number
  /** Bytes of the codes of m elements, padding included. */
  readonly codeBytes: (m: number) => number
  /** Writes code i of a block; `codes` was zero. */
  put(codes: Uint8Array, i: number, code: number): void
  get(codes: Uint8Array, i: number): number
}

const f = Math.fround
/** The least scale whose inverse is finite in float32. */
const leastScale = 2 ** -126

/** NaN for a block that holds NaN or infinity, or whose largest code would decode to infinity. */
function scaleOf(block: Float32Array, levels: number): number {
  let absmax = 0
  for (const x of block) absmax = Math.max(absmax, Math.abs(x))
  const scale = Math.max(f(absmax / levels), leastScale)
  return f(scale * levels) < Number.POSITIVE_INFINITY ? scale : Number.NaN
}

export function blockTwin(format: BlockFormat): CodecTwin {
  const { blockElems, levels, codeBytes } = format

  /** Calls `visit` with the start, the scale's view and the codes of every block of an encoded range of n elements. */
  const eachBlock = (
    bytes: Uint8Array,
    n: number,
    visit: (from: number, scale: DataView, codes: Uint8Array) => void,
  ) => {
    let at = 0
    for (let from = 0; from < n; from += blockElems) {
      const size = codeBytes(Math.min(blockElems, n - from))
      const scale = new DataView(bytes.buffer, bytes.byteOffset + at, 4)
      visit(from, scale, bytes.subarray(at + 4, at + 4 + size))
      at += 4 + size
    }
  }

  const decodeWith = (dst: Float32Array, src: Uint8Array, take: (i: number, decoded: number) => number): Flag => {
    let flag: Flag = 0
    eachBlock(src, dst.length, (from, scaleAt, codes) => {
      const scale = scaleAt.getFloat32(0, true)
      if (!Number.isFinite(scale)) flag = 1
      const to = Math.min(from + blockElems, dst.length)
      for (let i = from; i < to; i++) dst[i] = take(i, f(format.get(codes, i - from) * scale))
    })
    return flag
  }

  return {
    encode(dst, src, residual) {
      let flag: Flag = 0
      eachBlock(dst, src.length, (from, scaleAt, codes) => {
        const block = src.subarray(from, from + blockElems)
        const scale = scaleOf(block, levels)
        codes.fill(0)
        scaleAt.setFloat32(0, scale, true)
        if (Number.isNaN(scale)) flag = 1
        const inverse = f(1 / scale)
        for (let i = 0; i < block.length; i++) {
          const x = block[i] as number
          const code = Number.isNaN(scale) ? 0 : roundHalfEven(f(x * inverse))
          format.put(codes, i, code)
          // + 0 makes the zero of a code that was -0 positive, as its byte is.
          const decoded = f(code * scale) + 0
          if (residual !== undefined) residual[from + i] = Number.isNaN(scale) ? 0 : x - decoded
          block[i] = decoded
        }
      })
      return flag
    },
    decode: (dst, src) => decodeWith(dst, src, (_, decoded) => decoded),
    decodeAdd: (dst, src) => decodeWith(dst, src, (i, decoded) => (dst[i] as number) + decoded),
  }
}

export const int8Twin: CodecTwin = blockTwin({
  blockElems: 256,
  levels: 127,
  codeBytes: m => Math.ceil(m / 4) * 4,
  put(codes, i, code) {
    codes[i] = code
  },
  get: (codes, i) => ((codes[i] as number) << 24) >> 24,
})

/** Element 2j in the low half of byte j, element 2j+1 in the high half; two's complement of 4 bits. */
export const int4Twin: CodecTwin = blockTwin({
  blockElems: 64,
  levels: 7,
  codeBytes: m => Math.ceil(m / 8) * 4,
  put(codes, i, code) {
    codes[i >> 1] = (codes[i >> 1] as number) | ((code & 15) << (4 * (i & 1)))
  },
  get: (codes, i) => ((codes[i >> 1] as number) << (28 - 4 * (i & 1))) >> 28,
})

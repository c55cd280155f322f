import { SkeinError } from '@skein/core'
import { type AdamwScalars, adamwScalars } from './adamw-scalars.ts'
import { SimdErrors } from './errors.ts'
import { kernelsBase64 } from './kernels.generated.ts'
import { wasmEngine } from './shared-memory.ts'

/** One AdamW step; pointers are byte offsets, each of `n` float32. Outputs may be the inputs; other overlaps are not allowed. */
export interface AdamwStep {
  readonly p: number
  readonly m: number
  readonly v: number
  /** Gradient; multiplied by `gradScale` before use. */
  readonly g: number
  readonly pOut: number
  readonly mOut: number
  readonly vOut: number
  readonly n: number
  readonly lr: number
  readonly beta1: number
  readonly beta2: number
  readonly eps: number
  readonly weightDecay: number
  readonly gradScale: number
  /** The step being made, from 1. */
  readonly step: number
}

/** How two values become one. */
export type Combine = 'sum' | 'min' | 'max'
/** Element types that the reductions know. */
export type ReduceDType = 'float32' | 'int32' | 'float16' | 'bfloat16'
/** Encoded forms that the kernels know; their layouts are in the README of @skein/codec. */
export type Encoding = 'int8' | 'int4' | 'fp16' | 'bf16'

/** 64 bits in two unsigned 32-bit halves. */
export interface Hash64 {
  readonly lo: number
  readonly hi: number
}

/**
 * Kernels over one shared memory. Pointers are byte offsets into it, counts are elements of float32.
 *
 * Each call runs to its end in the calling thread and allocates nothing. The caller sees to it that no other thread writes the
 * ranges meanwhile. Same input, same bits, on every machine (NaN payloads apart).
 * @throws SKEIN_SIMD_RANGE for a range outside the memory, before anything is written
 */
export interface Simd {
  /** dst += src. */
  add(dst: number, src: number, n: number): void
  /** dst *= s. */
  scale(dst: number, n: number, s: number): void
  fill(dst: number, n: number, value: number): void
  /** dst = src; may overlap. */
  copy(dst: number, src: number, n: number): void
  /** Copies bytes; the ranges may overlap. */
  copyBytes(dst: number, src: number, bytes: number): void
  /** Σ x² in float64; eight partial sums by index mod 8, joined in a fixed order. */
  sumSquares(ptr: number, n: number): number
  /** Whether any element is NaN or infinite. */
  hasNonFinite(ptr: number, n: number): boolean
  /** torch.optim.AdamW: decoupled decay, bias-corrected moments, eps outside the corrected root. @see Loshchilov & Hutter 2019 */
  adamw(step: AdamwStep): void
  /** dst[i] = dst[i] op src[i]. 16-bit floats are computed in float32 and rounded once; sums of int32 wrap; NaN wins in min and max. */
  reduce(op: Combine, dtype: ReduceDType, dst: number, src: number, n: number): void
  /** dst[i] = dst[i] · s in the element's own type, computed in float32. Not for int32. */
  scaleAs(dtype: Exclude<ReduceDType, 'int32'>, dst: number, n: number, s: number): void
  /**
   * Writes the encoded form of n float32 at `src` to `dst`, puts what decoding gives in the place of the source and, unless
   * `residual` is 0, what was lost at `residual` (float32[n]). A block with a value that is not finite decodes as NaN.
   * `dst` and the source do not overlap. Returns whether there was such a value.
   */
  encode(encoding: Encoding, dst: number, src: number, residual: number, n: number): boolean
  /** Stores (or with `adds` adds) n decoded float32 at `dst`. Returns whether one is not finite. */
  decode(encoding: Encoding, dst: number, src: number, n: number, adds: boolean): boolean
  /** Checksum and digest "lanes16" of `bytes` bytes, as `lanes16` of @skein/core; defined in the README. */
  hash(ptr: number, bytes: number, seed?: number): Hash64
  /** The low half of `hash` alone, as unsigned 32 bits: the payload checksum of a frame. */
  checksum(ptr: number, bytes: number, seed?: number): number
}

type Ptr = number
interface KernelExports {
  add(dst: Ptr, src: Ptr, n: number): void
  scale(dst: Ptr, n: number, s: number): void
  fill(dst: Ptr, n: number, value: number): void
  copy(dst: Ptr, src: Ptr, n: number): void
  copyBytes(dst: Ptr, src: Ptr, bytes: number): void
  sumSquares(ptr: Ptr, n: number): number
  hasNonFinite(ptr: Ptr, n: number): number
  reduceFloat32(op: number, dst: Ptr, src: Ptr, n: number): void
  reduceInt32(op: number, dst: Ptr, src: Ptr, n: number): void
  reduceHalf(op: number, format: number, dst: Ptr, src: Ptr, n: number): void
  scaleHalf(format: number, dst: Ptr, n: number, s: number): void
  encodeInt8(dst: Ptr, src: Ptr, residual: Ptr, n: number): number
  decodeInt8(dst: Ptr, src: Ptr, n: number, adds: boolean): number
  encodeInt4(dst: Ptr, src: Ptr, residual: Ptr, n: number): number
  decodeInt4(dst: Ptr, src: Ptr, n: number, adds: boolean): number
  encodeHalf(format: number, dst: Ptr, src: Ptr, residual: Ptr, n: number): number
  decodeHalf(format: number, dst: Ptr, src: Ptr, n: number, adds: boolean): number
  hashLow(ptr: Ptr, bytes: number, seed: number): number
  hashHigh(): number
  adamw(
    ...args: [p: Ptr, m: Ptr, v: Ptr, g: Ptr, pOut: Ptr, mOut: Ptr, vOut: Ptr, n: number, ...scalars: AdamwScalars]
  ): void
}

const combineCodes = { sum: 0, min: 1, max: 2 } as const
const [float16, bfloat16] = [0, 1]
const elemBytes = { float32: 4, int32: 4, float16: 2, bfloat16: 2 } as const

/** Elements of a block, bytes before its codes, codes a byte, and bytes its codes are padded to. */
const blocksOf = {
  int8: { elems: 256, head: 4, perByte: 1, align: 4 },
  int4: { elems: 64, head: 4, perByte: 2, align: 4 },
  fp16: { elems: 64, head: 0, perByte: 0.5, align: 1 },
  bf16: { elems: 64, head: 0, perByte: 0.5, align: 1 },
} as const

/** Elements that are encoded together; the last block may be shorter. */
export function encodedBlockElems(encoding: Encoding): number {
  return blocksOf[encoding].elems
}

/** Bytes of n encoded elements; for a multiple of the block's, also the offset of element n. */
export function encodedBytes(encoding: Encoding, n: number): number {
  const { elems, head, perByte, align } = blocksOf[encoding]
  const bytes = (count: number) => (count === 0 ? 0 : head + Math.ceil(count / perByte / align) * align)
  return Math.floor(n / elems) * bytes(elems) + bytes(n % elems)
}

let compiled: object | undefined

/** Compiles once for the process; each memory gets its own instance. */
function kernelModule(): object {
  if (compiled === undefined) {
    const text = atob(kernelsBase64.replaceAll('\n', ''))
    compiled = new wasmEngine.Module(Uint8Array.from(text, c => c.charCodeAt(0)))
  }
  return compiled
}

export function createSimd(memory: WebAssembly.Memory): Simd {
  const instance = new wasmEngine.Instance(kernelModule(), { env: { memory } })
  const k = instance.exports as KernelExports
  let limit = memory.buffer.byteLength

  const check = (kernel: string, ptr: number, bytes: number) => {
    if (ptr >= 0 && bytes >= 0 && ptr + bytes <= limit) return
    limit = memory.buffer.byteLength
    if (ptr >= 0 && bytes >= 0 && ptr + bytes <= limit) return
    throw new SkeinError(SimdErrors.RANGE, {
      what: `${kernel} was called for ${bytes} B at ${ptr} in a memory of ${limit} B`,
      why: 'the caller computed a wrong offset or count',
      todo: 'check it against the region the arena handed out',
      details: { kernel, ptr, bytes, limit },
    })
  }

  return {
    add(dst, src, n) {
      check('add', dst, n * 4)
      check('add', src, n * 4)
      k.add(dst, src, n)
    },
    scale(dst, n, s) {
      check('scale', dst, n * 4)
      k.scale(dst, n, s)
    },
    fill(dst, n, value) {
      check('fill', dst, n * 4)
      k.fill(dst, n, value)
    },
    copy(dst, src, n) {
      check('copy', dst, n * 4)
      check('copy', src, n * 4)
      k.copy(dst, src, n)
    },
    copyBytes(dst, src, bytes) {
      check('copyBytes', dst, bytes)
      check('copyBytes', src, bytes)
      k.copyBytes(dst, src, bytes)
    },
    sumSquares(ptr, n) {
      check('sumSquares', ptr, n * 4)
      return k.sumSquares(ptr, n)
    },
    hasNonFinite(ptr, n) {
      check('hasNonFinite', ptr, n * 4)
      return k.hasNonFinite(ptr, n) === 1
    },
    adamw(s) {
      for (const ptr of [s.p, s.m, s.v, s.g, s.pOut, s.mOut, s.vOut]) check('adamw', ptr, s.n * 4)
      k.adamw(s.p, s.m, s.v, s.g, s.pOut, s.mOut, s.vOut, s.n, ...adamwScalars(s))
    },
    reduce(op, dtype, dst, src, n) {
      check('reduce', dst, n * elemBytes[dtype])
      check('reduce', src, n * elemBytes[dtype])
      const code = combineCodes[op]
      if (dtype === 'float32') {
        if (op === 'sum') k.add(dst, src, n)
        else k.reduceFloat32(code, dst, src, n)
      } else if (dtype === 'int32') k.reduceInt32(code, dst, src, n)
      else k.reduceHalf(code, dtype === 'float16' ? float16 : bfloat16, dst, src, n)
    },
    scaleAs(dtype, dst, n, s) {
      check('scaleAs', dst, n * elemBytes[dtype])
      if (dtype === 'float32') k.scale(dst, n, s)
      else k.scaleHalf(dtype === 'float16' ? float16 : bfloat16, dst, n, s)
    },
    encode(encoding, dst, src, residual, n) {
      check('encode', dst, encodedBytes(encoding, n))
      check('encode', src, n * 4)
      if (residual !== 0) check('encode', residual, n * 4)
      if (encoding === 'int8') return k.encodeInt8(dst, src, residual, n) === 1
      if (encoding === 'int4') return k.encodeInt4(dst, src, residual, n) === 1
      return k.encodeHalf(encoding === 'fp16' ? float16 : bfloat16, dst, src, residual, n) === 1
    },
    decode(encoding, dst, src, n, adds) {
      check('decode', src, encodedBytes(encoding, n))
      check('decode', dst, n * 4)
      if (encoding === 'int8') return k.decodeInt8(dst, src, n, adds) === 1
      if (encoding === 'int4') return k.decodeInt4(dst, src, n, adds) === 1
      return k.decodeHalf(encoding === 'fp16' ? float16 : bfloat16, dst, src, n, adds) === 1
    },
    hash(ptr, bytes, seed = 0) {
      check('hash', ptr, bytes)
      const lo = k.hashLow(ptr, bytes, seed) >>> 0
      return { lo, hi: k.hashHigh() >>> 0 }
    },
    checksum(ptr, bytes, seed = 0) {
      check('checksum', ptr, bytes)
      return k.hashLow(ptr, bytes, seed) >>> 0
    },
  }
}

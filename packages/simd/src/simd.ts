import { type AdamwScalars, adamwScalars } from './adamw-scalars.ts'
import { kernelModule, rangeCheck } from './kernel-module.ts'
import { kernelsBase64 } from './kernels.generated.ts'

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
  /** Σ x² in float64; eight partial sums by index mod 8, joined in a fixed order. */
  sumSquares(ptr: number, n: number): number
  /** Whether any element is NaN or infinite. */
  hasNonFinite(ptr: number, n: number): boolean
  /** torch.optim.AdamW: decoupled decay, bias-corrected moments, eps outside the corrected root. @see Loshchilov & Hutter 2019 */
  adamw(step: AdamwStep): void
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
  sumSquares(ptr: Ptr, n: number): number
  hasNonFinite(ptr: Ptr, n: number): number
  hashLow(ptr: Ptr, bytes: number, seed: number): number
  hashHigh(): number
  adamw(
    ...args: [p: Ptr, m: Ptr, v: Ptr, g: Ptr, pOut: Ptr, mOut: Ptr, vOut: Ptr, n: number, ...scalars: AdamwScalars]
  ): void
}

const instantiate = kernelModule<KernelExports>(kernelsBase64)

export function createSimd(memory: WebAssembly.Memory): Simd {
  const k = instantiate(memory)
  const check = rangeCheck(memory)

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

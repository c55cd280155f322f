import { dtypeBytes } from '@skein/core'
import { kernelModule, rangeCheck } from '@skein/simd'
import { type Codec, type CodecName, codecOf } from './codec.ts'
import type { Flag } from './codec-twin.ts'
import { kernelsBase64 } from './kernels.generated.ts'
import type { ReduceDType, ReduceOp, ScaleDType } from './reduce.ts'

/**
 * One codec over one shared memory. Pointers are byte offsets into it, `n` counts elements. Encoded forms take
 * `codec.encodedBytes(n)` B; ranges must not overlap. Each call runs to its end in the calling thread and allocates nothing.
 *
 * All return 1 when a NaN or infinity was met, else 0. Such a block (in fp16 and bf16 such an element) decodes to NaN (there to
 * NaN or infinity), so the flag comes up on every rank that the sum reaches.
 * @throws SKEIN_SIMD_RANGE for a range outside the memory, before anything is written
 */
export interface CodecKernel {
  readonly codec: Codec
  /** Writes the encoded form of the float32 [n] at `srcInOut` to `dst`, and replaces them by what decoding gives. */
  encode(dst: number, srcInOut: number, n: number): Flag
  /** As `encode`; residual[i] = source - decoded, float32 [n]; 0 where that is not finite. */
  encodeResidual(dst: number, srcInOut: number, residual: number, n: number): Flag
  /** dst = decoded, float32 [n]. */
  decode(dst: number, src: number, n: number): Flag
  /** dst += decoded, float32 [n]. The flag speaks of what was decoded; a sum that overflows shows when it is encoded. */
  decodeAdd(dst: number, src: number, n: number): Flag
}

/** Kernels for what collectives move besides float32 sums (`add` of @skein/simd). */
export interface CodecKernels {
  codec(name: CodecName): CodecKernel
  /**
   * dst[i] = op(dst[i], src[i]) for n elements of `dtype`; equal or disjoint ranges. min and max of NaN and anything are NaN;
   * int32 sums wrap; float16 and bfloat16 are computed in float32 and rounded to nearest even once.
   */
  reduce(op: ReduceOp, dtype: ReduceDType, dst: number, src: number, n: number): void
  /** dst[i] *= factor, rounded to float32 first: for a mean. */
  scale(dtype: ScaleDType, dst: number, n: number, factor: number): void
}

type Encode = (dst: number, src: number, residual: number, n: number) => Flag
type Decode = (dst: number, src: number, n: number) => Flag
type Reduce = (dst: number, src: number, n: number) => void
type Scale = (dst: number, n: number, factor: number) => void
type Name = 'Int8' | 'Int4' | 'Fp16' | 'Bf16'
type KernelExports = Readonly<
  Record<`encode${Name}`, Encode> &
    Record<`decode${Name}` | `decodeAdd${Name}`, Decode> &
    Record<`${ReduceOp}${'Float32' | 'Int32' | 'Float16' | 'BFloat16'}`, Reduce> &
    Record<'scaleFloat32' | 'scaleFloat16' | 'scaleBFloat16', Scale>
>

const instantiate = kernelModule<KernelExports>(kernelsBase64)
/** Byte offset 0 is nobody's in an arena: to the kernels it says that no residual is wanted. */
const noResidual = 0

/** The kernels over `memory`; one instance for each thread. */
export function createCodecKernels(memory: WebAssembly.Memory): CodecKernels {
  const k = instantiate(memory)
  const check = rangeCheck(memory)

  const kernelOf = (name: CodecName, encode: Encode, decode: Decode, decodeAdd: Decode): CodecKernel => {
    const codec = codecOf(name)
    return {
      codec,
      encode(dst, srcInOut, n) {
        check('encode', dst, codec.encodedBytes(n))
        check('encode', srcInOut, n * 4)
        return encode(dst, srcInOut, noResidual, n)
      },
      encodeResidual(dst, srcInOut, residual, n) {
        check('encodeResidual', dst, codec.encodedBytes(n))
        check('encodeResidual', srcInOut, n * 4)
        check('encodeResidual', residual, n * 4)
        return encode(dst, srcInOut, residual, n)
      },
      decode(dst, src, n) {
        check('decode', dst, n * 4)
        check('decode', src, codec.encodedBytes(n))
        return decode(dst, src, n)
      },
      decodeAdd(dst, src, n) {
        check('decodeAdd', dst, n * 4)
        check('decodeAdd', src, codec.encodedBytes(n))
        return decodeAdd(dst, src, n)
      },
    }
  }

  const kernels: Readonly<Record<CodecName, CodecKernel>> = {
    int8: kernelOf('int8', k.encodeInt8, k.decodeInt8, k.decodeAddInt8),
    int4: kernelOf('int4', k.encodeInt4, k.decodeInt4, k.decodeAddInt4),
    fp16: kernelOf('fp16', k.encodeFp16, k.decodeFp16, k.decodeAddFp16),
    bf16: kernelOf('bf16', k.encodeBf16, k.decodeBf16, k.decodeAddBf16),
  }
  const reductions: Readonly<Record<ReduceDType, Readonly<Record<ReduceOp, Reduce>>>> = {
    float32: { sum: k.sumFloat32, min: k.minFloat32, max: k.maxFloat32 },
    int32: { sum: k.sumInt32, min: k.minInt32, max: k.maxInt32 },
    float16: { sum: k.sumFloat16, min: k.minFloat16, max: k.maxFloat16 },
    bfloat16: { sum: k.sumBFloat16, min: k.minBFloat16, max: k.maxBFloat16 },
  }
  const scales: Readonly<Record<ScaleDType, Scale>> = {
    float32: k.scaleFloat32,
    float16: k.scaleFloat16,
    bfloat16: k.scaleBFloat16,
  }

  return {
    codec: name => kernels[name],
    reduce(op, dtype, dst, src, n) {
      check('reduce', dst, n * dtypeBytes[dtype])
      check('reduce', src, n * dtypeBytes[dtype])
      reductions[dtype][op](dst, src, n)
    },
    scale(dtype, dst, n, factor) {
      check('scale', dst, n * dtypeBytes[dtype])
      scales[dtype](dst, n, factor)
    },
  }
}

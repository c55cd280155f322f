/**
 * Tensors on the wire in fewer bytes: block int8 and int4, fp16, bf16; their SIMD kernels, error feedback, and models to compare
 * with. Pure but for the kernels, which write in the memory they are given.
 *
 * @example
 * const int8 = createCodecKernels(arena.memory).codec('int8')
 * const notFinite = int8.encode(wire.byteOffset, gradient.byteOffset, 1000) // gradient now holds what the peers will decode
 * peer.send(wire.byteOffset, int8.codec.encodedBytes(1000))
 */
export {
  allToAllAllReduceModel,
  chunkRange,
  type RoundTrip,
  ringAllReduceModel,
  roundTripOf,
} from './all-reduce-model.ts'
export { type Codec, type CodecName, codecById, codecOf, codecs } from './codec.ts'
export { type CodecKernel, type CodecKernels, createCodecKernels } from './codec-kernels.ts'
export type { CodecTwin, Flag } from './codec-twin.ts'
export { ErrorFeedback } from './error-feedback.ts'
export { CodecErrors } from './errors.ts'
export { decodePrime8, encodePrime8, type Prime8 } from './prime8.ts'
export type { ReduceDType, ReduceOp, ScaleDType } from './reduce.ts'
export { codecTwin } from './twins.ts'
export { type ElementArrays, reduceTwin, scaleElementsTwin } from './twins-reduce.ts'

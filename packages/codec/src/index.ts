/**
 * Compression of tensors on the wire. The codecs run as kernels on the shared memory (`Simd.encode`, `Simd.decode`); here is what
 * they are, their plain twins, error feedback, and PRIME's table for comparison.
 *
 * @example
 * const { encodedBytes } = codecs.int8
 * const at = arena.alloc('encoded', encodedBytes(n)).byteOffset
 * simd.encode('int8', at, values.byteOffset, 0, n)
 */
export { type Codec, type CodecName, codecNames, codecs } from './codec.ts'
export { ErrorFeedback } from './error-feedback.ts'
export { decodeTable, encodeTable, type TableEncoded } from './prime8.ts'
export { decodeTwin, type Encoded, encodeTwin } from './twins.ts'

/** 1 when a NaN or infinity was met. */
export type Flag = 0 | 1

/**
 * A codec in plain TypeScript over typed arrays: the oracle of the kernels' tests, and the definition to read. Same bits as the
 * kernels, NaN payloads apart. Encoded bytes start at any offset of their buffer.
 */
export interface CodecTwin {
  /** Writes the encoded form of `src` [n] to `dst` and replaces `src` by what decoding gives; `residual` [n] becomes the difference. */
  encode(dst: Uint8Array, src: Float32Array, residual?: Float32Array): Flag
  /** dst [n] = what n encoded elements decode to. */
  decode(dst: Float32Array, src: Uint8Array): Flag
  /** dst [n] += what n encoded elements decode to. */
  decodeAdd(dst: Float32Array, src: Uint8Array): Flag
}

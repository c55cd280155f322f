import { encodedBlockElems, encodedBytes, type Encoding } from '@skein/simd'

/** Compressed forms of float32. */
export type CodecName = Encoding

/** What there is to know of a codec without running it; `Simd.encode` and `Simd.decode` run it. */
export interface Codec {
  readonly name: CodecName
  /** Number of the codec in frames. */
  readonly id: number
  /** Elements that are encoded together; where a range may be cut. */
  readonly blockElems: number
  /** Bytes of n encoded elements; for a multiple of `blockElems` also where element n begins. */
  readonly encodedBytes: (elems: number) => number
  /** Rounding moves a value by at most this share of its block's largest magnitude (of its own magnitude where a block has no scale). */
  readonly maxError: number
}

const codec = (name: CodecName, id: number, maxError: number): Codec => ({
  name,
  id,
  blockElems: encodedBlockElems(name),
  encodedBytes: elems => encodedBytes(name, elems),
  maxError,
})

/**
 * int8 and int4: symmetric blocks, scale = largest magnitude / 127 or / 7, round to nearest even; half a step is lost at most. (A
 * code times the scale is rounded once more, by u = 2^-24.) fp16 and bf16: 11 and 8 bits of significand.
 */
export const codecs: Readonly<Record<CodecName, Codec>> = {
  int8: codec('int8', 1, 0.5 / 127 + 2 ** -22),
  int4: codec('int4', 2, 0.5 / 7 + 2 ** -22),
  fp16: codec('fp16', 3, 2 ** -11),
  bf16: codec('bf16', 4, 2 ** -8),
}

export const codecNames = Object.keys(codecs) as readonly CodecName[]

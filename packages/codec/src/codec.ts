import { nearestName, SkeinError } from '@skein/core'
import { CodecErrors } from './errors.ts'

export type CodecName = 'int8' | 'int4' | 'fp16' | 'bf16'

/**
 * How float32 elements lie on the wire. The encoded form is a row of blocks that know nothing of each other, so any range that
 * starts at a multiple of `blockElems` is one contiguous piece, at byte `encodedBytes(start)` of the whole. Every encoded form is a
 * multiple of 4 B long. Byte by byte in the README.
 */
export interface Codec {
  readonly name: CodecName
  /** On the wire; from 1, 0 is "not encoded". */
  readonly id: number
  /** Elements of a block; only the last block of an encoded range may be shorter. */
  readonly blockElems: number
  /** Bytes of the encoded form of `elems` elements. */
  readonly encodedBytes: (elems: number) => number
}

const ceil4 = (bytes: number) => Math.ceil(bytes / 4) * 4

/** A float32 scale, then codes of `codeBits` bits, for each block. */
function scaledBlocks(blockElems: number, codeBits: number): (elems: number) => number {
  const codeBytes = (elems: number) => ceil4((elems * codeBits) / 8)
  const blockBytes = 4 + codeBytes(blockElems)
  return elems => {
    const tail = elems % blockElems
    return ((elems - tail) / blockElems) * blockBytes + (tail === 0 ? 0 : 4 + codeBytes(tail))
  }
}

const table: Readonly<Record<CodecName, Codec>> = {
  int8: { name: 'int8', id: 1, blockElems: 256, encodedBytes: scaledBlocks(256, 8) },
  int4: { name: 'int4', id: 2, blockElems: 64, encodedBytes: scaledBlocks(64, 4) },
  // Two elements, so that a block is 4 B as every other encoded form.
  fp16: { name: 'fp16', id: 3, blockElems: 2, encodedBytes: elems => ceil4(elems * 2) },
  bf16: { name: 'bf16', id: 4, blockElems: 2, encodedBytes: elems => ceil4(elems * 2) },
}

/** All codecs, by id. */
export const codecs: readonly Codec[] = Object.values(table)

/** @throws SKEIN_CODEC_UNKNOWN */
export function codecOf(name: string): Codec {
  if (Object.hasOwn(table, name)) return table[name as CodecName]
  const near = nearestName(name, Object.keys(table))
  throw new SkeinError(CodecErrors.UNKNOWN, {
    what: `codec "${name}" was asked for`,
    why: near === undefined ? 'there is none of that name' : `there is none of that name; "${near}" is the nearest`,
    todo: `use one of ${Object.keys(table).join(', ')}`,
    details: { name },
  })
}

/** The codec that a peer named by its id. @throws SKEIN_CODEC_UNKNOWN */
export function codecById(id: number): Codec {
  const found = codecs.find(codec => codec.id === id)
  if (found !== undefined) return found
  throw new SkeinError(CodecErrors.UNKNOWN, {
    what: `codec ${id} came over the wire`,
    why: 'the peer runs another version',
    todo: 'run the same version on both sides',
    details: { id },
  })
}

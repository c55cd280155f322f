import { isUtf8 } from 'node:buffer'

/** One text: UTF-8 bytes without NUL. */
export interface Document {
  /** Path below its folder with `/` between the parts, or the line number in a JSONL file: what the split hashes. */
  readonly name: string
  readonly bytes: Uint8Array
}

/** All documents of a source in their lasting order, and what was left out on the way. */
export interface DocumentSet {
  readonly documents: readonly Document[]
  /** Files that are not UTF-8 text. */
  readonly skippedBinary: number
  /** Files or lines without any text. */
  readonly skippedEmpty: number
}

/** One byte in this many may be NUL (and is dropped); a file with more of them is binary. */
const textBytesPerNul = 100

/**
 * The bytes of a text file without byte order mark and NUL bytes (0 separates documents in the packed stream), or undefined
 * when they are not UTF-8 text. Returns the input itself where nothing has to go.
 */
export function textBytes(bytes: Uint8Array): Uint8Array | undefined {
  if (!isUtf8(bytes)) return undefined
  const withoutMark = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes
  if (!withoutMark.includes(0)) return withoutMark
  return isFullOfNuls(withoutMark) ? undefined : withoutMark.filter(byte => byte !== 0)
}

/** More of them than a text has by mistake. */
export function isFullOfNuls(bytes: Uint8Array): boolean {
  let numNuls = 0
  for (const byte of bytes) if (byte === 0) numNuls++
  return numNuls * textBytesPerNul > bytes.length
}

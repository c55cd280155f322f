import { dtypeBytes, lanes16, SkeinError } from '@skein/core'
import { WireErrors } from './errors.ts'
import {
  type FrameHeader,
  frameDTypeCodes,
  frameKindCodes,
  frameMagic,
  frameVersion,
  headerBytes,
} from './frame-header.ts'

/**
 * Writes the 48 bytes of `header` at `offset` of `view`, little endian.
 * @throws SKEIN_WIRE_HEADER_FIELD when a number does not fit its field, or payloadBytes is not count elements
 */
export function encodeHeader(view: DataView, offset: number, header: FrameHeader): void {
  if (header.payloadBytes !== header.count * dtypeBytes[header.dtype]) {
    throw badField('payloadBytes', header.payloadBytes, `not ${header.count} elements of ${header.dtype}`)
  }
  view.setUint32(offset, frameMagic, true)
  view.setUint8(offset + 4, frameVersion)
  view.setUint8(offset + 5, frameKindCodes[header.kind])
  view.setUint8(offset + 6, frameDTypeCodes[header.dtype])
  view.setUint8(offset + 7, fit('flags', header.flags, 0xff))
  view.setUint32(offset + 8, fit('generation', header.generation, 0xffff_ffff), true)
  view.setUint32(offset + 12, fit('opSeq', header.opSeq, 0xffff_ffff), true)
  view.setUint16(offset + 16, fit('fromRank', header.fromRank, 0xffff), true)
  view.setUint16(offset + 18, fit('algorithm', header.algorithm, 0xffff), true)
  view.setUint32(offset + 20, fit('chunk', header.chunk, 0xffff_ffff), true)
  view.setUint32(offset + 24, fit('count', header.count, 0xffff_ffff), true)
  view.setUint32(offset + 28, fit('payloadBytes', header.payloadBytes, 0xffff_ffff), true)
  view.setUint32(offset + 32, fit('opElems', header.opElems, 0xffff_ffff), true)
  view.setUint32(offset + 36, fit('tag', header.tag, 0xffff_ffff), true)
  view.setUint32(offset + 40, fit('payloadChecksum', header.payloadChecksum, 0xffff_ffff), true)
  view.setUint32(offset + 44, headerChecksum(view, offset), true)
}

/** lanes16 `lo` of the first 44 bytes of the header at `offset`. */
export function headerChecksum(view: DataView, offset: number): number {
  return lanes16(new Uint8Array(view.buffer, view.byteOffset + offset, headerBytes - 4)).lo
}

function fit(field: keyof FrameHeader, value: number, max: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= max) return value
  throw badField(field, value, `not an integer of 0 … ${max}`)
}

function badField(field: keyof FrameHeader, value: number, problem: string): SkeinError {
  return new SkeinError(WireErrors.HEADER_FIELD, {
    what: `frame header field ${field} is ${value}: ${problem}`,
    why: 'an op larger than a frame can say, or a defect',
    todo: 'split the op into smaller ones; else report it',
    details: { field, value },
  })
}

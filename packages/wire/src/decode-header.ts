import { type DType, dtypeBytes, type ErrorCode, SkeinError } from '@skein/core'
import { headerChecksum } from './encode-header.ts'
import { WireErrors } from './errors.ts'
import {
  type FrameHeader,
  type FrameKind,
  frameDTypeCodes,
  frameKindCodes,
  frameMagic,
  frameVersion,
  headerBytes,
} from './frame-header.ts'

/** What a receiver accepts. */
export interface FrameLimits {
  readonly maxPayloadBytes: number
  /** The only generation accepted; left out: any. */
  readonly generation?: number
  /** The only sender accepted; left out: any. */
  readonly fromRank?: number
}

export type DecodedHeader =
  | { readonly ok: true; readonly header: FrameHeader }
  | { readonly ok: false; readonly error: SkeinError }

const kindOf = new Map<number, FrameKind>(Object.entries(frameKindCodes).map(([k, code]) => [code, k as FrameKind]))
const dtypeOf = new Map<number, DType>(Object.entries(frameDTypeCodes).map(([d, code]) => [code, d as DType]))

/**
 * Reads the header at `offset` of `view`. Never throws, whatever the bytes: magic, version and checksum are checked before any
 * length is believed, then the fields against each other and against `limits`.
 */
export function decodeHeader(view: DataView, offset: number, limits: FrameLimits): DecodedHeader {
  const given = view.byteLength - offset
  if (!(offset >= 0 && given >= headerBytes)) {
    return refuse(WireErrors.FRAME_TRUNCATED, `${given} bytes where a frame header of ${headerBytes} begins`, CUT)
  }
  const magic = view.getUint32(offset, true)
  if (magic !== frameMagic)
    return refuse(WireErrors.FRAME_GARBAGE, `a frame that begins with ${hex(magic)}`, MISALIGNED)
  const version = view.getUint8(offset + 4)
  if (version !== frameVersion) {
    return refuse(
      WireErrors.FRAME_VERSION,
      `a frame of version ${version}; this worker speaks ${frameVersion}`,
      OTHER_SKEIN,
    )
  }
  const checksum = view.getUint32(offset + 44, true)
  const expected = headerChecksum(view, offset)
  if (checksum !== expected) {
    return refuse(
      WireErrors.FRAME_GARBAGE,
      `a frame header with checksum ${hex(checksum)}, not ${hex(expected)}`,
      MISALIGNED,
    )
  }
  const kind = kindOf.get(view.getUint8(offset + 5))
  const dtype = dtypeOf.get(view.getUint8(offset + 6))
  if (kind === undefined || dtype === undefined) {
    const codes = `kind ${view.getUint8(offset + 5)} and dtype ${view.getUint8(offset + 6)}`
    return refuse(WireErrors.FRAME_MALFORMED, `a frame of ${codes}`, OTHER_SKEIN)
  }
  const header: FrameHeader = {
    kind,
    dtype,
    flags: view.getUint8(offset + 7),
    generation: view.getUint32(offset + 8, true),
    opSeq: view.getUint32(offset + 12, true),
    fromRank: view.getUint16(offset + 16, true),
    algorithm: view.getUint16(offset + 18, true),
    chunk: view.getUint32(offset + 20, true),
    count: view.getUint32(offset + 24, true),
    payloadBytes: view.getUint32(offset + 28, true),
    opElems: view.getUint32(offset + 32, true),
    tag: view.getUint32(offset + 36, true),
    payloadChecksum: view.getUint32(offset + 40, true),
  }
  return checkFields(header, limits)
}

function checkFields(header: FrameHeader, limits: FrameLimits): DecodedHeader {
  const { generation, fromRank, payloadBytes, count, dtype } = header
  if (limits.generation !== undefined && generation !== limits.generation) {
    const what = `a frame of generation ${generation} on a lane of generation ${limits.generation}`
    return refuse(WireErrors.FRAME_GENERATION, what, STALE)
  }
  if (limits.fromRank !== undefined && fromRank !== limits.fromRank) {
    return refuse(
      WireErrors.FRAME_SENDER,
      `a frame from rank ${fromRank} on the lane of rank ${limits.fromRank}`,
      STALE,
    )
  }
  if (payloadBytes !== count * dtypeBytes[dtype]) {
    return refuse(WireErrors.FRAME_MALFORMED, `a frame of ${count} ${dtype} elements in ${payloadBytes} B`, OTHER_SKEIN)
  }
  if (payloadBytes > limits.maxPayloadBytes) {
    const what = `a frame of ${payloadBytes} B; at most ${limits.maxPayloadBytes} B are taken`
    return refuse(WireErrors.FRAME_TOO_LARGE, what, OTHER_CONFIG)
  }
  return { ok: true, header }
}

interface Advice {
  readonly why: string
  readonly todo: string
}
const CUT: Advice = { why: 'the peer ended in the middle of a frame', todo: "read the end of the peer's log" }
const MISALIGNED: Advice = {
  why: 'the stream lost its alignment, was altered on the way, or the peer is not a Skein worker',
  todo: 'check the address and what stands between the two; this lane is closed',
}
const OTHER_SKEIN: Advice = {
  why: 'the peer runs another version of Skein',
  todo: 'run the same version on all machines',
}
const OTHER_CONFIG: Advice = { why: 'the peer runs another config', todo: 'compare the frame limits of both workers' }
const STALE: Advice = {
  why: 'the peer has not noticed that the membership changed',
  todo: 'nothing; the lane is closed and the peer joins again',
}

function refuse(row: ErrorCode, what: string, advice: Advice): DecodedHeader {
  return { ok: false, error: new SkeinError(row, { what, ...advice }) }
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`
}

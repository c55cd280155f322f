import type { DType } from '@skein/core'

/** Bytes of every frame header; a multiple of 8, so that a payload that follows it in memory stays aligned. */
export const headerBytes = 48
/** "SKEN" in memory order. */
export const frameMagic = 0x4e454b53
export const frameVersion = 1

/** What a frame is for. `data` carries elements of an op; `abort` ends every op of the lane; `hello` opens a conversation. */
export type FrameKind = 'data' | 'abort' | 'hello'

export const frameKindCodes: Readonly<Record<FrameKind, number>> = { data: 1, abort: 2, hello: 3 }
export const frameDTypeCodes: Readonly<Record<DType, number>> = {
  float32: 1,
  int32: 2,
  bfloat16: 3,
  float16: 4,
  uint8: 5,
}

/** A frame header without what encoding adds (magic, version, headerChecksum). Ranges are those of the byte table in the README. */
export interface FrameHeader {
  readonly kind: FrameKind
  readonly dtype: DType
  /** uint8, free for the op. */
  readonly flags: number
  readonly generation: number
  readonly opSeq: number
  readonly fromRank: number
  /** uint16: which op and algorithm; codes belong to @skein/collective. */
  readonly algorithm: number
  /** Index of the send within the op on this lane. */
  readonly chunk: number
  /** Elements in the payload. */
  readonly count: number
  /** `count` times the size of the dtype. */
  readonly payloadBytes: number
  /** Elements of the whole op, so that ranks that call it with different sizes find out. */
  readonly opElems: number
  readonly tag: number
  /** lanes16 `lo` of the payload, or 0 where the op does without. */
  readonly payloadChecksum: number
}

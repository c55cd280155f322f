/**
 * Frames and control messages to bytes and back. Pure: no socket, no clock, no Node module. Bytes of strangers are refused with a
 * typed error, never an exception; lengths are checked before they are believed.
 *
 * @example
 * encodeHeader(view, 0, header)
 * const decoded = decodeHeader(view, 0, { maxPayloadBytes: 2 ** 20, generation: 3 })
 * if (!decoded.ok) lane.fail(decoded.error)
 */
export {
  type Decoded,
  decodeCoordinatorMessage,
  decodeWorkerMessage,
  defaultMaxMessageBytes,
  encodeCoordinatorMessage,
  encodeWorkerMessage,
} from './control-codec.ts'
export type { CoordinatorMessage } from './coordinator-messages.ts'
export { type DecodedHeader, decodeHeader, type FrameLimits } from './decode-header.ts'
export { encodeHeader } from './encode-header.ts'
export { toErrorRecord } from './error-record.ts'
export { WireErrors } from './errors.ts'
export { maxTimedOps, type TimedOpRecord } from './timed-op.ts'
export { type FlightOp, maxFlightOps, maxFlightPeers } from './flight-op.ts'
export {
  type FrameHeader,
  type FrameKind,
  frameDTypeCodes,
  frameKindCodes,
  frameMagic,
  frameVersion,
  headerBytes,
} from './frame-header.ts'
export { protocolVersion, type WorkerMessage } from './worker-messages.ts'

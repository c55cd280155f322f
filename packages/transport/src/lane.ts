import type { Rank, SkeinError } from '@skein/core'
import type { FrameHeader } from '@skein/wire'
import type { CloseReason } from './close-reason.ts'

/**
 * The two ends of a tensor lane: frames in one direction, in order. The receiver dials, because only the side that connects can
 * have payloads read straight into their destination. Raw lanes and WebSocket lanes pass one contract suite.
 */

/** `raw`: frames on the bare socket after an HTTP upgrade. `ws`: the same bytes in WebSocket messages, for proxies that want them. */
export type LaneKind = 'raw' | 'ws'

/** The sending end. */
export interface LaneWriter {
  readonly peer: Rank
  /**
   * Sends one frame after all earlier ones. Borrows `payload` until the promise settles: it must not be written before. Resolves
   * when the operating system has taken the bytes; several sends may be under way, and it is the caller who bounds them.
   * Rejects with the lane's `CloseReason.error`; throws on a header that cannot be or a payload of another size than it says.
   */
  send(header: FrameHeader, payload: Uint8Array): Promise<void>
  /** Headers and payloads given to `send` so far. */
  readonly bytesSent: number
  /** Ends the lane now, idempotent. Sends that are not flushed reject; those that are still arrive. */
  close(): void
  readonly closed: Promise<CloseReason>
}

/** What the owner of the receiving end does with frames. Called in order, never in the middle of another of its own calls. */
export interface LaneSink {
  /**
   * Where the payload goes: a view of exactly `payloadBytes` that the lane may write until `received`; or 'wait': the lane stops
   * reading until `resume`, and then asks again. Called for empty payloads, too.
   */
  place(header: FrameHeader): Uint8Array | 'wait'
  /** The payload is complete in its place. Its checksum is the owner's to check. */
  received(header: FrameHeader): void
  /** The peer sent what cannot be taken; the lane is closed. Called at most once; a lane that merely breaks settles `closed` only. */
  failed(error: SkeinError): void
}

/** The receiving end. A lane that waits notices that its peer is gone only after `resume`. */
export interface LaneReader {
  readonly peer: Rank
  /** Asks `place` again for the frame that waits; harmless when none does. */
  resume(): void
  /** Ends the lane now, idempotent; its sink is not called any more and no destination is written. */
  close(): void
  readonly closed: Promise<CloseReason>
}

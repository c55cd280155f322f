import type { SkeinError } from '@skein/core'
import type { FrameHeader } from '@skein/wire'

export interface CloseReason {
  readonly kind: 'closed-by-us' | 'closed-by-peer' | 'reset' | 'heartbeat-lost' | 'protocol-error'
  readonly error: SkeinError
  readonly code: string
  readonly what: string
}
export interface LaneWriter {
  readonly peer: number
  send(header: FrameHeader, payload: Uint8Array): Promise<void>
  readonly bytesSent: number
  close(): void
  readonly closed: Promise<CloseReason>
}
export interface LaneSink {
  place(header: FrameHeader): Uint8Array | 'wait'
  received(header: FrameHeader): void
  failed(error: SkeinError): void
}
export interface LaneReader {
  readonly peer: number
  resume(): void
  close(): void
  readonly closed: Promise<CloseReason>
}

import type { FrameHeader } from '@skein/wire'
import type { CloseReason } from './close-reason.ts'

/** A frame that was read before its turn. */
export interface AheadFrame {
  readonly header: FrameHeader
  readonly payload: Uint8Array
}

/** What a striped reader holds of one of its lanes. */
export class Stripe {
  /** Whole frames, the oldest first. */
  readonly ahead: AheadFrame[] = []
  /** Why the lane ended in good order: no more frames come on it. */
  ended: CloseReason | undefined
  /** A header is here whose payload has no place yet. */
  isWaiting = false
  readonly #aheadBytes: number
  /** Of the frame that is being read ahead. */
  #payload: Uint8Array | undefined
  #heldBytes = 0
  /** Kept for the next frame, which mostly has the same size. */
  #spare: Uint8Array | undefined

  constructor(aheadBytes: number) {
    this.#aheadBytes = aheadBytes
  }

  /** Whether a frame is here or on its way that the reader has not delivered. */
  get isBusy(): boolean {
    return this.isWaiting || this.#payload !== undefined || this.ahead.length > 0
  }

  /** Memory for a payload before its turn; undefined where that would be too much. */
  begin(payloadBytes: number): Uint8Array | undefined {
    if (this.#heldBytes + payloadBytes > this.#aheadBytes) return undefined
    const spare = this.#spare?.byteLength === payloadBytes ? this.#spare : undefined
    this.#spare = undefined
    this.#payload = spare ?? new Uint8Array(payloadBytes)
    this.#heldBytes += payloadBytes
    return this.#payload
  }

  /** The payload is complete; false if it was not one that was read ahead. */
  finish(header: FrameHeader): boolean {
    const payload = this.#payload
    if (payload === undefined) return false
    this.#payload = undefined
    this.ahead.push({ header, payload })
    return true
  }

  /** The oldest frame was delivered. */
  drop(): void {
    const frame = this.ahead.shift()
    if (frame === undefined) return
    this.#heldBytes -= frame.payload.byteLength
    this.#spare = frame.payload
  }
}

import { asSkeinError, SkeinError } from '@skein/core'
import { decodeHeader, type FrameHeader, type FrameLimits, headerBytes } from '@skein/wire'
import { TransportErrors } from './errors.ts'
import type { LaneSink } from './lane.ts'

/**
 * Bytes read at once where a header is due. Payloads longer than this go straight to their destination, except for their first
 * and last bytes; shorter frames come many to a read.
 */
export const readAheadBytes = 4096

/**
 * Bytes of a lane, in any portions, to frames in their places. The former hop is the socket, the next the sink.
 *
 * Two ways in: `buffer` and `filled` for sockets that read into memory they are given, `feed` for chunks that already exist.
 */
export class FrameReader {
  readonly #sink: LaneSink
  readonly #limits: FrameLimits
  readonly #onFailed: (error: SkeinError) => void
  readonly #readAhead = new Uint8Array(readAheadBytes)
  readonly #headerView = new DataView(new ArrayBuffer(headerBytes))
  readonly #headerPart = new Uint8Array(this.#headerView.buffer)
  #header: FrameHeader | undefined
  /** Where the payload of `#header` goes; undefined while the sink makes it wait. */
  #place: Uint8Array | undefined
  /** The part of `#place` that was given to be read into. */
  #direct: Uint8Array | undefined
  /** Bytes that are there, of the header or, when it is complete, of the payload. */
  #filled = 0
  /** What came after the frame that waits; borrowed from the feeder, who does not go on while the reader waits. */
  #parked: Uint8Array[] = []
  #isBusy = false
  #wasResumed = false
  #hasEnded = false

  /** `onFailed` is called once, when a frame or the sink makes it impossible to go on; nothing is read after it. */
  constructor(sink: LaneSink, limits: FrameLimits, onFailed: (error: SkeinError) => void) {
    this.#sink = sink
    this.#limits = limits
    this.#onFailed = onFailed
  }

  /** Whether more bytes are wanted now. */
  get wantsBytes(): boolean {
    return !this.#hasEnded && !this.#isWaiting
  }

  /** Whether the stream may not end here. */
  get isMidFrame(): boolean {
    return this.#header !== undefined || this.#filled > 0
  }

  /**
   * Where to read next: the rest of a long payload itself, else a small buffer of this reader. Valid until `filled`. Given also while no bytes
   * are wanted: a TLS socket that is told to stop still delivers the rest of the record it has opened, at most 16 KiB.
   */
  buffer(): Uint8Array {
    if (this.#isWaiting) return new Uint8Array(readAheadBytes)
    const place = this.#place
    if (place === undefined || place.byteLength - this.#filled <= readAheadBytes) return this.#readAhead
    this.#direct = place.subarray(this.#filled)
    return this.#direct
  }

  /** `bytes` were read into `target`, which `buffer` gave. */
  filled(target: Uint8Array, bytes: number): void {
    if (this.#hasEnded) return
    if (target !== this.#direct) {
      this.feed(target.subarray(0, bytes))
      return
    }
    this.#filled += bytes
    this.#run(() => this.#finishIfWhole())
  }

  /** Takes a chunk; what cannot be placed yet is parked, unchanged, until `resume`. */
  feed(chunk: Uint8Array): void {
    if (this.#hasEnded) return
    this.#parked.push(chunk)
    this.#drain()
  }

  /** Asks the sink again for the frame that waits; true when more bytes are wanted afterwards. */
  resume(): boolean {
    this.#wasResumed = true
    this.#drain()
    return this.wantsBytes
  }

  /** Nothing is placed and the sink is not called any more. */
  end(): void {
    this.#hasEnded = true
    this.#parked = []
    this.#place = undefined
  }

  get #isWaiting(): boolean {
    return this.#header !== undefined && this.#place === undefined
  }

  #drain(): void {
    this.#run(() => {
      if (this.#isWaiting && this.#wasResumed) this.#askPlace()
      while (this.#parked.length > 0 && this.wantsBytes) {
        const chunk = this.#parked[0] as Uint8Array
        const used = this.#take(chunk)
        if (used === chunk.byteLength) this.#parked.shift()
        else if (!this.#hasEnded) this.#parked[0] = chunk.subarray(used)
      }
    })
  }

  /** One step of work at a time: a sink that resumes its lane from within a call is served when that call returns. */
  #run(step: () => void): void {
    if (this.#isBusy) return
    this.#isBusy = true
    try {
      step()
    } catch (thrown) {
      this.#fail(asSkeinError(thrown))
    } finally {
      this.#isBusy = false
    }
  }

  /** Copies from the head of `chunk` what the present header or payload still lacks; returns how much. */
  #take(chunk: Uint8Array): number {
    if (this.#place !== undefined) {
      const count = Math.min(this.#place.byteLength - this.#filled, chunk.byteLength)
      this.#place.set(chunk.subarray(0, count), this.#filled)
      this.#filled += count
      this.#finishIfWhole()
      return count
    }
    const count = Math.min(headerBytes - this.#filled, chunk.byteLength)
    this.#headerPart.set(chunk.subarray(0, count), this.#filled)
    this.#filled += count
    if (this.#filled === headerBytes) this.#takeHeader()
    return count
  }

  #takeHeader(): void {
    const decoded = decodeHeader(this.#headerView, 0, this.#limits)
    if (!decoded.ok) {
      this.#fail(decoded.error)
      return
    }
    this.#header = decoded.header
    this.#filled = 0
    this.#askPlace()
  }

  #askPlace(): void {
    const header = this.#header as FrameHeader
    let place: Uint8Array | 'wait'
    do {
      this.#wasResumed = false
      place = this.#sink.place(header)
    } while (place === 'wait' && this.#wasResumed && !this.#hasEnded)
    if (place === 'wait' || this.#hasEnded) return
    if (place.byteLength !== header.payloadBytes) {
      this.#fail(wrongSize(header, place.byteLength))
      return
    }
    this.#place = place
    this.#finishIfWhole()
  }

  #finishIfWhole(): void {
    const header = this.#header
    if (header === undefined || this.#filled < header.payloadBytes || this.#hasEnded) return
    this.#header = undefined
    this.#place = undefined
    this.#filled = 0
    this.#sink.received(header)
  }

  #fail(error: SkeinError): void {
    if (this.#hasEnded) return
    this.end()
    this.#onFailed(error)
  }
}

export function wrongSize(header: FrameHeader, given: number): SkeinError {
  return new SkeinError(TransportErrors.BAD_DESTINATION, {
    what: `${given} B were given for the payload of ${header.payloadBytes} B of op ${header.opSeq}, chunk ${header.chunk}`,
    why: 'a defect of the lane owner',
    todo: 'report it with the log of this process',
  })
}

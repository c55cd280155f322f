import { CoreErrors, type Deferred, deferred, type Random, rank, SkeinError } from '@skein/core'
import { decodeHeader, encodeHeader, type FrameHeader, headerBytes } from '@skein/wire'
import type { CloseReason, LaneReader, LaneSink, LaneWriter } from '@skein/transport'

/** What goes wrong on one lane: at its frame number `frame` (from 0). */
export interface LaneFault {
  readonly frame: number
  readonly what: 'cut' | 'cut in payload' | 'flip payload bit' | 'garbage header'
}

interface Frame {
  readonly header: Uint8Array
  /** What the sender lent, until it is flushed; then what it was at that moment. */
  payload: Uint8Array
  readonly flush: Deferred<void>
  isFlushed: boolean
}

/** Runs tasks one at a time in a random order that the seed fixes; promises settle in between. */
export class Scheduler {
  readonly #random: Random
  readonly #tasks: (() => void)[] = []

  constructor(random: Random) {
    this.#random = random
  }

  get random(): Random {
    return this.#random
  }

  later(task: () => void): void {
    this.#tasks.push(task)
  }

  /** Until nothing is left to do. */
  async run(): Promise<void> {
    for (;;) {
      while (this.#tasks.length > 0) {
        const [task] = this.#tasks.splice(this.#random.nextInt(this.#tasks.length), 1)
        task?.()
        for (let turn = 0; turn < 4; turn++) await Promise.resolve()
      }
      await new Promise(resolve => setImmediate(resolve))
      if (this.#tasks.length === 0) return
    }
  }
}

/**
 * A lane within the process, unkind: frames come in pieces at random times; a payload is read at a random time up to its flush,
 * and the flush comes before, during or after the delivery. What the sender or receiver must not touch meanwhile therefore shows.
 */
export class MemoryLane {
  readonly writer: LaneWriter
  readonly reader: LaneReader
  readonly #scheduler: Scheduler
  readonly #sink: LaneSink
  readonly #fault: LaneFault | undefined
  readonly #frames: Frame[] = []
  readonly #closed = deferred<CloseReason>()
  #isClosed = false
  #isPaused = false
  #delivered = 0
  #destination: Uint8Array | undefined
  #copied = 0
  #bytesSent = 0
  /** Frames are not flushed before they are delivered, as when the kernel has no room. */
  holdFlushes = false

  constructor(from: number, to: number, sink: LaneSink, scheduler: Scheduler, fault?: LaneFault) {
    this.#scheduler = scheduler
    this.#sink = sink
    this.#fault = fault
    const bytesSent = () => this.#bytesSent
    this.writer = {
      peer: rank(to),
      send: (header, payload) => this.#send(header, payload),
      get bytesSent() {
        return bytesSent()
      },
      close: () => this.close('closed by its sender', 'closed-by-peer'),
      closed: this.#closed.promise,
    }
    this.reader = {
      peer: rank(from),
      resume: () => {
        this.#isPaused = false
        this.#deliverLater()
      },
      close: () => this.close('closed by its receiver', 'closed-by-peer'),
      closed: this.#closed.promise,
    }
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  close(what: string, kind: CloseReason['kind'] = 'reset'): void {
    if (this.#isClosed) return
    this.#isClosed = true
    const error = new SkeinError(CoreErrors.ABORTED, { what, todo: 'nothing' })
    this.#closed.resolve({ kind, error, code: error.code, what })
    for (const frame of this.#frames) if (!frame.isFlushed) frame.flush.reject(error)
  }

  /** Bytes as another program might put them on the wire. */
  inject(header: FrameHeader, payload: Uint8Array): void {
    this.#send(header, payload).catch(() => undefined)
  }

  #send(header: FrameHeader, payload: Uint8Array): Promise<void> {
    const bytes = new Uint8Array(headerBytes)
    encodeHeader(new DataView(bytes.buffer), 0, header)
    const frame: Frame = { header: bytes, payload, flush: deferred(), isFlushed: false }
    this.#bytesSent += headerBytes + payload.byteLength
    if (this.#isClosed) frame.flush.reject(new Error('sent on a closed lane'))
    else this.#frames.push(frame)
    if (!this.holdFlushes && this.#scheduler.random.nextInt(3) > 0) this.#scheduler.later(() => this.#flush(frame))
    this.#deliverLater()
    return frame.flush.promise
  }

  #flush(frame: Frame): void {
    if (frame.isFlushed || this.#isClosed) return
    frame.payload = frame.payload.slice()
    frame.isFlushed = true
    frame.flush.resolve()
  }

  #deliverLater(): void {
    this.#scheduler.later(() => this.#deliver())
  }

  #deliver(): void {
    const frame = this.#frames[0]
    if (frame === undefined || this.#isPaused || this.#isClosed) return
    const fault = this.#fault?.frame === this.#delivered ? this.#fault.what : undefined
    if (fault === 'cut') return this.close('cut')
    if (fault === 'garbage header') frame.header[20] = (frame.header[20] ?? 0) ^ 1
    const decoded = decodeHeader(new DataView(frame.header.buffer), 0, { maxPayloadBytes: 1 << 20 })
    if (!decoded.ok) {
      this.close('not a frame')
      return this.#sink.failed(decoded.error)
    }
    const { header } = decoded
    if (this.#destination === undefined) {
      const place = this.#sink.place(header)
      if (place === 'wait') {
        this.#isPaused = true
        return
      }
      this.#destination = place
      this.#copied = 0
    }
    const left = header.payloadBytes - this.#copied
    const count = left === 0 ? 0 : 1 + this.#scheduler.random.nextInt(left)
    this.#destination.set(frame.payload.subarray(this.#copied, this.#copied + count), this.#copied)
    this.#copied += count
    if (fault === 'cut in payload') return this.close('cut in the middle of a payload')
    if (this.#copied < header.payloadBytes) return this.#deliverLater()
    if (fault === 'flip payload bit') this.#destination[0] = (this.#destination[0] ?? 0) ^ 1
    this.#frames.shift()
    this.#destination = undefined
    this.#delivered++
    if (this.#scheduler.random.nextInt(2) === 0) this.#flush(frame)
    else this.#scheduler.later(() => this.#flush(frame))
    this.#sink.received(header)
    this.#deliverLater()
  }
}

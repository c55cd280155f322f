import { asSkeinError, type Deferred, deferred, type Rank, rank, type SkeinError } from '@skein/core'
import type { FrameHeader } from '@skein/wire'
import { type CloseReason, closedByUs, closeReason, resetByPeer } from './close-reason.ts'
import { wrongSize } from './frame-reader.ts'
import type { LaneReader, LaneSink } from './lane.ts'
import { Stripe } from './stripe.ts'

export interface StripedReaderOptions {
  readonly peer: number
  readonly sink: LaneSink
  readonly stripes: number
  /** Of each stripe. */
  readonly aheadBytes: number
}

/**
 * Several lanes of one pair, read as one. The lane whose turn it is reads straight into the sink's places. The others go on into memory
 * of their own, up to a bound: a lane that did not read until its turn would keep TCP's window small, and all would be slower than one.
 */
export class StripedReader implements LaneReader {
  readonly peer: Rank
  readonly closed: Promise<CloseReason>
  readonly #sink: LaneSink
  readonly #name: string
  readonly #closed: Deferred<CloseReason> = deferred()
  readonly #stripes: readonly Stripe[]
  #lanes: readonly LaneReader[] = []
  /** The lane of the next frame. */
  #turn = 0
  #hasBegun = false
  #failure: SkeinError | undefined
  #isInSink = false
  #wasResumed = false
  #isBusy = false
  #hasMore = false
  #hasEnded = false

  constructor({ peer, sink, stripes, aheadBytes }: StripedReaderOptions) {
    this.peer = rank(peer)
    this.closed = this.#closed.promise
    this.#sink = sink
    this.#name = `the lane from rank ${peer}`
    this.#stripes = Array.from({ length: stripes }, () => new Stripe(aheadBytes))
  }

  /** For the dial of one lane. */
  sinkOf(index: number): LaneSink {
    const stripe = this.#stripes[index] as Stripe
    return {
      place: header => {
        const place = this.#place(index, stripe, header)
        stripe.isWaiting = place === 'wait'
        return place
      },
      received: header => {
        if (!stripe.finish(header)) this.#deliver(header)
        this.#advance()
      },
      failed: error => this.#fail(error),
    }
  }

  /** All lanes are open, in the order of the stripes: the sink is called from the next turn of the event loop on. */
  begin(lanes: readonly LaneReader[]): void {
    this.#lanes = lanes
    setImmediate(() => {
      if (this.#hasEnded) return
      this.#hasBegun = true
      if (this.#failure !== undefined) {
        this.#fail(this.#failure)
        return
      }
      for (const [index, lane] of lanes.entries()) void lane.closed.then(reason => this.#laneClosed(index, reason))
      for (const lane of lanes) lane.resume()
    })
  }

  resume(): void {
    if (this.#isInSink) this.#wasResumed = true
    else this.#advance()
  }

  close(): void {
    this.#end(closedByUs(this.#name))
  }

  #place(index: number, stripe: Stripe, header: FrameHeader): Uint8Array | 'wait' {
    if (!this.#hasBegun || this.#hasEnded) return 'wait'
    if (index === this.#turn && stripe.ahead.length === 0) return this.#ask(header)
    return stripe.begin(header.payloadBytes) ?? 'wait'
  }

  /** Delivers what is here and due, and lets every lane read on that may; one at a time, whoever asks. */
  #advance(): void {
    this.#hasMore = true
    if (this.#isBusy || this.#isInSink || !this.#hasBegun) return
    this.#isBusy = true
    try {
      while (this.#hasMore && !this.#hasEnded) {
        this.#hasMore = false
        this.#step()
      }
    } catch (thrown) {
      this.#fail(asSkeinError(thrown))
    } finally {
      this.#isBusy = false
    }
  }

  #step(): void {
    const stripe = this.#stripes[this.#turn] as Stripe
    const lane = this.#lanes[this.#turn] as LaneReader
    const frame = stripe.ahead[0]
    if (frame === undefined) {
      if (stripe.ended === undefined) lane.resume()
      else this.#end(this.#stripes.some(({ isBusy }) => isBusy) ? this.#cutOff() : stripe.ended)
      return
    }
    const { header, payload } = frame
    const place = this.#ask(header)
    if (place === 'wait' || this.#hasEnded) return
    if (place.byteLength !== payload.byteLength) {
      this.#fail(wrongSize(header, place.byteLength))
      return
    }
    place.set(payload)
    stripe.drop()
    this.#deliver(header)
    this.#hasMore = true
    if (!this.#hasEnded && stripe.isWaiting) lane.resume()
  }

  #ask(header: FrameHeader): Uint8Array | 'wait' {
    let place: Uint8Array | 'wait'
    do {
      this.#wasResumed = false
      place = this.#callSink(() => this.#sink.place(header))
    } while (place === 'wait' && this.#wasResumed && !this.#hasEnded)
    return place
  }

  #deliver(header: FrameHeader): void {
    this.#turn = (this.#turn + 1) % this.#stripes.length
    this.#callSink(() => this.#sink.received(header))
  }

  #callSink<T>(call: () => T): T {
    this.#isInSink = true
    try {
      return call()
    } finally {
      this.#isInSink = false
    }
  }

  #fail(error: SkeinError): void {
    if (!this.#hasBegun) {
      this.#failure ??= error
      return
    }
    if (this.#hasEnded) return
    this.#end(closeReason('protocol-error', error))
    this.#sink.failed(error)
  }

  #laneClosed(index: number, reason: CloseReason): void {
    if (reason.kind !== 'closed-by-peer') {
      this.#end(reason)
      return
    }
    ;(this.#stripes[index] as Stripe).ended = reason
    this.#advance()
  }

  /** The next frame would come on a lane that has ended: what is here of later ones can never be delivered. */
  #cutOff(): CloseReason {
    return resetByPeer(this.#name, 'between its stripes')
  }

  #end(reason: CloseReason): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#closed.resolve(reason)
    for (const lane of this.#lanes) lane.close()
  }
}

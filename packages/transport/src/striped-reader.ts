import { type Deferred, deferred, type Rank, rank, type SkeinError } from '@skein/core'
import type { FrameHeader } from '@skein/wire'
import { type CloseReason, closedByUs, closeReason, resetByPeer } from './close-reason.ts'
import { type DialLaneOptions, dialLane } from './dial-lane.ts'
import type { LaneReader, LaneSink } from './lane.ts'
import { type Stripes, stripeChannels } from './stripe-channels.ts'

/**
 * Opens several lanes from `peer` and reads them as one: frame k comes on lane k mod S, and the sink sees all in order, one at a
 * time. Over far links each lane has a TCP window of its own, and a lost packet stops one of them. Memory: that of S lanes; a lane
 * whose turn it is not stops reading at its next header. When one lane breaks, all end for its reason.
 * @throws what dialLane throws, when one of the dials fails; SKEIN_TRANSPORT_BAD_STRIPES
 */
export async function dialStripedLane(options: DialLaneOptions & Stripes): Promise<LaneReader> {
  const channels = stripeChannels(options)
  if (channels.length === 1) return dialLane(options)
  const reader = new StripedReader(options, channels.length)
  const stop = new AbortController()
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal])
  let failure: unknown
  const dials = channels.map((channel, index) =>
    dialLane({ ...options, channel, signal, sink: reader.sinkOf(index) }).catch((thrown: unknown) => {
      failure ??= thrown
      stop.abort()
      return undefined
    }),
  )
  const lanes = (await Promise.all(dials)).filter(lane => lane !== undefined)
  if (lanes.length < channels.length) {
    for (const lane of lanes) lane.close()
    throw failure
  }
  reader.begin(lanes)
  return reader
}

class StripedReader implements LaneReader {
  readonly peer: Rank
  readonly closed: Promise<CloseReason>
  readonly #sink: LaneSink
  readonly #name: string
  readonly #closed: Deferred<CloseReason> = deferred()
  /** Those whose next frame is here and waits, for its turn or for the sink. */
  readonly #isWaiting: boolean[]
  /** Why lanes ended in good order: no more frames come on them, but may on others whose turn is first. */
  readonly #ended = new Map<number, CloseReason>()
  #lanes: readonly LaneReader[] = []
  /** The lane of the next frame. */
  #turn = 0
  #hasBegun = false
  #failure: SkeinError | undefined
  #isInReceived = false
  #hasEnded = false

  constructor({ peer, sink }: DialLaneOptions, stripes: number) {
    this.peer = rank(peer)
    this.closed = this.#closed.promise
    this.#sink = sink
    this.#name = `the lane from rank ${peer}`
    this.#isWaiting = Array.from({ length: stripes }, () => false)
  }

  sinkOf(index: number): LaneSink {
    return {
      place: header => {
        const place = this.#place(index, header)
        this.#isWaiting[index] = place === 'wait'
        return place
      },
      received: header => this.#received(header),
      failed: error => this.#fail(error),
    }
  }

  /** All lanes are open: the sink is called from the next turn of the event loop on. */
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
      this.resume()
    })
  }

  resume(): void {
    if (!this.#hasBegun || this.#hasEnded) return
    // The next frame waits until `received` returns, and is asked for then anyway.
    if (!this.#isInReceived) this.#lanes[this.#turn]?.resume()
  }

  close(): void {
    this.#end(closedByUs(this.#name))
  }

  #place(index: number, header: FrameHeader): Uint8Array | 'wait' {
    if (index !== this.#turn || !this.#hasBegun || this.#hasEnded) return 'wait'
    return this.#sink.place(header)
  }

  #received(header: FrameHeader): void {
    this.#turn = (this.#turn + 1) % this.#lanes.length
    this.#isInReceived = true
    try {
      this.#sink.received(header)
    } finally {
      this.#isInReceived = false
    }
    if (this.#hasEnded) return
    this.#endIfOver()
    this.resume()
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
    if (this.#hasEnded) return
    if (reason.kind !== 'closed-by-peer') {
      this.#end(reason)
      return
    }
    this.#ended.set(index, reason)
    this.#endIfOver()
  }

  /** The next frame would come on a lane that has ended. Frames after it that are here can never be delivered. */
  #endIfOver(): void {
    const reason = this.#ended.get(this.#turn)
    if (reason === undefined) return
    this.#end(this.#isWaiting.includes(true) ? resetByPeer(this.#name, 'between the stripes') : reason)
  }

  #end(reason: CloseReason): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#closed.resolve(reason)
    for (const lane of this.#lanes) lane.close()
  }
}

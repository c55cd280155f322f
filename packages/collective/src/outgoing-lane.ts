import { asSkeinError, type SkeinError, within } from '@skein/core'
import type { CloseReason, LaneWriter } from '@skein/transport'
import type { Farewell } from './farewell.ts'
import type { OpRun, Track } from './op-run.ts'

/** What an outgoing lane needs from its group. */
export interface OutgoingHost {
  /** Hands one op to the writer; settles when it is flushed. */
  transmit(writer: LaneWriter, run: OpRun, index: number, lane: OutgoingLane): Promise<void>
  flushed(run: OpRun, index: number, lane: OutgoingLane): void
  outgoingFailed(peer: number, error: SkeinError): void
}

/** Frames that may be handed to a writer before the first is flushed: keeps the socket fed, and bounds what a copying lane holds. */
export const maxUnflushedFrames = 16

/** How long the last frame of a lane may take to leave. */
const farewellMs = 250

/** The sends to one peer, op after op, each as soon as what it sends is complete. Next hop: the writer's socket. */
export class OutgoingLane {
  readonly peer: number
  readonly channel: number
  /** Why the lane is gone, when the peer closed it in good order: a failure only for who still wants to use it. */
  ended: CloseReason | undefined
  readonly #host: OutgoingHost
  /** Whether its frames carry a checksum of their payload. */
  hasChecksums = true
  readonly #queue: Track[] = []
  #writer: LaneWriter | undefined
  #unflushed = 0

  constructor(peer: number, channel: number, host: OutgoingHost) {
    this.peer = peer
    this.channel = channel
    this.#host = host
  }

  attach(writer: LaneWriter): void {
    this.#writer = writer
  }

  push(run: OpRun, indexes: Int32Array): void {
    this.#queue.push({ run, indexes, next: 0 })
  }

  pump(): void {
    const writer = this.#writer
    if (writer === undefined) return
    for (;;) {
      const track = this.#queue[0]
      if (track === undefined) return
      if (track.next === track.indexes.length) {
        this.#queue.shift()
        continue
      }
      const { run } = track
      const index = track.indexes[track.next] as number
      if (run.pending[index] !== 0 || this.#unflushed === maxUnflushedFrames) return
      track.next++
      this.#unflushed++
      try {
        this.#host.transmit(writer, run, index, this).then(
          () => {
            this.#unflushed--
            this.#host.flushed(run, index, this)
          },
          thrown => this.#host.outgoingFailed(this.peer, asSkeinError(thrown)),
        )
      } catch (thrown) {
        this.#host.outgoingFailed(this.peer, asSkeinError(thrown))
        return
      }
    }
  }

  /** Whether something is still to be sent or flushed. */
  get isBusy(): boolean {
    return this.#unflushed > 0 || this.#queue.some(track => track.next < track.indexes.length)
  }

  /**
   * Ends the lane. A farewell goes first where nothing is on its way: frames before it would be read from memory that is no longer
   * borrowed.
   */
  close(farewell?: Farewell): void {
    this.#queue.length = 0
    const writer = this.#writer
    if (farewell === undefined || this.#unflushed > 0 || this.ended !== undefined) {
      writer?.close()
      return
    }
    if (writer === undefined) return
    const sent = writer.send(farewell.header, farewell.payload)
    within(sent, { what: 'the last frame of a lane', timeoutMs: farewellMs })
      .catch(() => undefined)
      .finally(() => writer.close())
  }
}

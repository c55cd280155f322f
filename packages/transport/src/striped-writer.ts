import { type Deferred, deferred, type Rank, type WaitOptions } from '@skein/core'
import type { FrameHeader } from '@skein/wire'
import { type CloseReason, closedByUs, resetByPeer } from './close-reason.ts'
import type { LaneDoor } from './lane-door.ts'
import type { LaneWriter } from './lane.ts'
import { type Stripes, stripeChannels } from './stripe-channels.ts'

/**
 * The sending end of a striped lane, as `dialStripedLane` of the peer dials it.
 * @throws SKEIN_TIMEOUT, also where the peer has another number of stripes; SKEIN_ABORTED, SKEIN_TRANSPORT_CLOSED, _BAD_STRIPES
 */
export async function stripedLane(
  door: LaneDoor,
  peer: number,
  wait: Omit<WaitOptions, 'what'>,
  stripes: Stripes,
): Promise<LaneWriter> {
  const lanes = await Promise.all(stripeChannels(stripes).map(channel => door.lane(peer, wait, channel)))
  return stripeWriter(lanes)
}

/**
 * One writer over several of the same pair: frame k goes on lane k mod S. Takes them over: when one of them ends, all do, for its
 * reason. How many sends are under way is the caller's to bound, as on one lane.
 */
export function stripeWriter(lanes: readonly LaneWriter[]): LaneWriter {
  const [only] = lanes
  return only !== undefined && lanes.length === 1 ? only : new StripedWriter(lanes)
}

class StripedWriter implements LaneWriter {
  readonly peer: Rank
  readonly closed: Promise<CloseReason>
  readonly #lanes: readonly LaneWriter[]
  readonly #closed: Deferred<CloseReason> = deferred()
  #next = 0
  #unflushed = 0
  #reason: CloseReason | undefined

  constructor(lanes: readonly LaneWriter[]) {
    this.peer = (lanes[0] as LaneWriter).peer
    this.closed = this.#closed.promise
    this.#lanes = lanes
    for (const lane of lanes) void lane.closed.then(reason => this.#laneClosed(reason))
  }

  get bytesSent(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.bytesSent, 0)
  }

  send(header: FrameHeader, payload: Uint8Array): Promise<void> {
    if (this.#reason !== undefined) return Promise.reject(this.#reason.error)
    // A header that cannot be throws here, and takes no turn.
    const sent = (this.#lanes[this.#next] as LaneWriter).send(header, payload)
    this.#next = (this.#next + 1) % this.#lanes.length
    this.#unflushed++
    return sent.then(
      () => {
        this.#unflushed--
      },
      // A lane that this writer closed after another one broke says so; the reason is the other's.
      async () => Promise.reject((await this.closed).error),
    )
  }

  close(): void {
    this.#end(closedByUs(`the lane to rank ${this.peer}`))
  }

  /** A peer that closes while frames are under way has not read them, even if the lane that says so first was idle. */
  #laneClosed(reason: CloseReason): void {
    const isCut = reason.kind === 'closed-by-peer' && this.#unflushed > 0
    this.#end(isCut ? resetByPeer(`the lane to rank ${this.peer}`, 'in the middle of a frame') : reason)
  }

  #end(reason: CloseReason): void {
    if (this.#reason !== undefined) return
    this.#reason = reason
    this.#closed.resolve(reason)
    for (const lane of this.#lanes) lane.close()
  }
}

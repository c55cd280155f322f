import { type DialLaneOptions, dialLane } from './dial-lane.ts'
import type { LaneReader } from './lane.ts'
import { type Stripes, stripeChannels } from './stripe-channels.ts'
import { StripedReader } from './striped-reader.ts'

/** Four frames of the size that collectives send. */
export const defaultAheadBytes = 2 ** 20

export interface DialStripedLaneOptions extends DialLaneOptions, Stripes {
  /** Payload bytes that each stripe may read before their turn, copied once more when it comes; default 1 MiB. */
  readonly aheadBytes?: number
}

/**
 * Opens several lanes from `peer` and reads them as one: frame k comes on lane k mod S, and the sink sees all in order, one at a
 * time. Over far links each lane has TCP windows of its own, and a lost packet stops one of them. Memory: that of S lanes and
 * S · aheadBytes. When one lane breaks, all end for its reason.
 * @throws what dialLane throws, when one of the dials fails; SKEIN_TRANSPORT_BAD_STRIPES
 */
export async function dialStripedLane(options: DialStripedLaneOptions): Promise<LaneReader> {
  const channels = stripeChannels(options)
  if (channels.length === 1) return dialLane(options)
  const { peer, sink, aheadBytes = defaultAheadBytes } = options
  const reader = new StripedReader({ peer, sink, aheadBytes, stripes: channels.length })
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

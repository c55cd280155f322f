import { asSkeinError, SkeinError, sleep } from '@skein/core'
import {
  dialLane,
  type DialLaneOptions,
  isLoopback,
  type LaneDoor,
  type LaneKind,
  type LaneReader,
  type TlsTrust,
  TransportErrors,
} from '@skein/transport'
import { CollectiveErrors } from '../errors.ts'
import type { Group } from '../group.ts'

/** Where a rank's lanes are dialled. */
export interface LaneAddress {
  readonly host: string
  readonly port: number
  /** A Unix socket; used instead where both ranks are on one host. */
  readonly path?: string
}

export interface ConnectOptions {
  /** Of this rank; opened for the group's generation and number. */
  readonly door: LaneDoor
  /** By rank. */
  readonly addresses: readonly LaneAddress[]
  readonly token: string
  /** Number of the group within its generation; default 0, that of all members. */
  readonly groupNumber?: number
  readonly kind?: LaneKind
  /** For lanes between hosts and ports, whose listeners then speak TLS. */
  readonly tls?: TlsTrust
  /** Whether payloads are checked; default: where they leave the host, by its addresses. True: on every lane over host and port. */
  readonly checksums?: boolean
  /** For a peer to answer. */
  readonly timeoutMs: number
  /** For one that answers, and is not so far yet: its device may be in the middle of a pass. Default `timeoutMs`. */
  readonly peerMs?: number
  readonly signal?: AbortSignal
}

/** Before a peer that was not so far is dialled again; it has held the dial for longer. */
const againMs = 100

/**
 * Joins this rank with all others: dials the lane from each (the receiver dials), waits for theirs, hands both to the group, on every
 * channel it has. Payloads are checked where they leave the host.
 * @throws SKEIN_COLLECTIVE_UNREACHABLE, which names the rank
 */
export async function connectGroup(group: Group, options: ConnectOptions): Promise<void> {
  const { door, addresses, token, kind = 'raw', tls, timeoutMs, peerMs = timeoutMs, signal, groupNumber = 0 } = options
  const aborting = signal === undefined ? {} : { signal }
  const deadlineMs = performance.now() + peerMs
  const { rank, generation } = group
  const links: Promise<void>[] = []
  for (const [peer, address] of addresses.entries()) {
    if (peer === rank) continue
    for (let channel = 0; channel < group.numChannels; channel++) {
      const { path, host, port } = address
      const where = path === undefined ? { host, port, kind, ...(tls === undefined ? {} : { tls }) } : { path }
      const lane = { generation, group: groupNumber, channel, rank, peer, token, sink: group.sink(peer, channel) }
      const checksums = path === undefined && (options.checksums ?? !isLoopback(host))
      links.push(
        dialUntil(deadlineMs, { timeoutMs, ...aborting, ...where, ...lane })
          .then(reader => group.attachReader(reader, channel))
          .catch((cause: unknown) => Promise.reject(unreachable(peer, generation, cause))),
        door
          .lane(peer, { timeoutMs: peerMs, ...aborting }, channel)
          .then(writer => group.attachWriter(writer, { channel, checksums }))
          .catch((cause: unknown) => Promise.reject(unreachable(peer, generation, cause))),
      )
    }
  }
  await Promise.all(links)
}

/** Dials once more where the peer says that it is not so far: it lives, and can be reached. */
async function dialUntil(deadlineMs: number, dial: DialLaneOptions): Promise<LaneReader> {
  for (;;) {
    try {
      return await dialLane(dial)
    } catch (thrown) {
      if (asSkeinError(thrown).code !== TransportErrors.BUSY.code || performance.now() >= deadlineMs) throw thrown
    }
    await sleep(againMs, dial.signal)
  }
}

const tlsErrors: ReadonlySet<string> = new Set(
  Object.values(TransportErrors)
    .map(({ code }) => code)
    .filter(code => code.startsWith('SKEIN_TRANSPORT_TLS')),
)

function unreachable(peer: number, generation: number, cause: unknown): SkeinError {
  const error = asSkeinError(cause)
  // What no other generation can mend is said as it is.
  if (tlsErrors.has(error.code)) return error
  const { message } = error
  return new SkeinError(CollectiveErrors.UNREACHABLE, {
    what: `no lane with rank ${peer} in generation ${generation}: ${message}`,
    why: 'that worker has just died, or the network between the two is closed for the lane ports',
    todo: 'open the lane ports between all workers; the next generation tries again',
    details: { peer, generation },
    cause,
  })
}

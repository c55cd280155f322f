import { SkeinError } from '@skein/core'
import type { FrameLimits } from '@skein/wire'
import { dialRawLane } from './dial-raw-lane.ts'
import { dialWsLane } from './dial-ws-lane.ts'
import { TransportErrors } from './errors.ts'
import type { LaneKind, LaneReader, LaneSink } from './lane.ts'

/** Over every segment size that is of use, so that only a misread length exceeds it. */
export const defaultMaxPayloadBytes = 64 * 2 ** 20

export interface DialLaneOptions {
  readonly host?: string
  readonly port?: number
  /** A Unix socket path instead of host and port; raw lanes only. */
  readonly path?: string
  /** Default `raw`. */
  readonly kind?: LaneKind
  /** Of the generation, from its `generation` message. */
  readonly token: string
  readonly generation: number
  /** Default 0: the group of all members of the generation. */
  readonly group?: number
  /** Which of several lanes of this pair; default 0. */
  readonly channel?: number
  /** The rank of this side, which receives. */
  readonly rank: number
  /** The rank that is dialled, which sends. */
  readonly peer: number
  readonly sink: LaneSink
  /** Larger payloads are refused by their header; default 64 MiB. */
  readonly maxPayloadBytes?: number
  /** From the dial to the open lane; default 10 s. */
  readonly timeoutMs?: number
  /** Gives up dialling; an open lane is closed by its reader only. */
  readonly signal?: AbortSignal
}

/** The options with every default filled in, as the two kinds use them. */
export interface LaneDial
  extends Required<Pick<DialLaneOptions, 'token' | 'generation' | 'group' | 'channel' | 'rank' | 'peer' | 'sink'>> {
  readonly host: string
  readonly port: number
  readonly path: string | undefined
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
  readonly limits: FrameLimits
  /** For messages: "lane from rank 2 at 10.0.0.7:4321". */
  readonly address: string
  /** For messages: "the lane from rank 2". */
  readonly name: string
}

/**
 * Opens a lane from `peer` to this rank. The sink is first called in a later turn of the event loop than the one in which the
 * promise resolves.
 * @throws SKEIN_TRANSPORT_UNREACHABLE, _HANDSHAKE_TIMEOUT, _HANDSHAKE_INVALID, _UNAUTHORIZED, _REFUSED, _BUSY, _BAD_ADDRESS;
 * SKEIN_ABORTED
 */
export async function dialLane(options: DialLaneOptions): Promise<LaneReader> {
  const { host = '127.0.0.1', port = 0, path, kind = 'raw', generation, peer } = options
  const name = `the lane from rank ${peer}`
  const dial: LaneDial = {
    ...options,
    group: options.group ?? 0,
    channel: options.channel ?? 0,
    host,
    port,
    path,
    timeoutMs: options.timeoutMs ?? 10_000,
    signal: options.signal,
    limits: { maxPayloadBytes: options.maxPayloadBytes ?? defaultMaxPayloadBytes, generation, fromRank: peer },
    address: `${name} at ${path ?? `${host}:${port}`}`,
    name,
  }
  if (kind === 'raw') return dialRawLane(dial)
  if (path === undefined) return dialWsLane(dial)
  throw new SkeinError(TransportErrors.BAD_ADDRESS, {
    what: `a WebSocket lane over the socket path ${path}`,
    why: 'within one host raw lanes need no WebSocket',
    todo: "use kind 'raw'",
  })
}

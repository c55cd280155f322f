import { SkeinError } from '@skein/core'
import type { FrameLimits } from '@skein/wire'
import { dialRawLane } from './dial-raw-lane.ts'
import { dialWsLane } from './dial-ws-lane.ts'
import { TransportErrors } from './errors.ts'
import { isSameProof, laneProof, laneProofNames, newNonce } from './lane-proof.ts'
import { type LaneRequest, laneHeaders } from './lane-request.ts'
import type { LaneKind, LaneReader, LaneSink } from './lane.ts'
import type { TlsTrust } from './tls-identity.ts'

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
  /** Speaks TLS with a host and port, never over a path; lanes between workers show a certificate, too. */
  readonly tls?: TlsTrust
  /** Gives up dialling; an open lane is closed by its reader only. */
  readonly signal?: AbortSignal
}

/** The options with every default filled in, as the two kinds use them. */
export interface LaneDial extends Required<Pick<DialLaneOptions, 'peer' | 'sink'>> {
  readonly host: string
  readonly port: number
  readonly path: string | undefined
  readonly tls: TlsTrust | undefined
  /** Of the request, without those of the upgrade. */
  readonly headers: Readonly<Record<string, string>>
  /** Why the answer, by its headers, is not of one who knows the token. */
  readonly impostor: (headers: Readonly<Record<string, string | string[] | undefined>>) => SkeinError | undefined
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
 * @throws SKEIN_TRANSPORT_UNREACHABLE, _HANDSHAKE_TIMEOUT, _HANDSHAKE_INVALID, _UNAUTHORIZED, _REFUSED, _BUSY, _BAD_ADDRESS, _TLS_…;
 * SKEIN_ABORTED
 */
export async function dialLane(options: DialLaneOptions): Promise<LaneReader> {
  const { host = '127.0.0.1', port = 0, path, kind = 'raw', generation, peer } = options
  const { token, group = 0, channel = 0, rank, sink } = options
  const name = `the lane from rank ${peer}`
  const address = `${name} at ${path ?? `${host}:${port}`}`
  const request: LaneRequest = { kind, generation, group, channel, from: rank, to: peer }
  const nonce = newNonce()
  const answer = laneProof('answer', token, request, nonce)
  const dial: LaneDial = {
    peer,
    sink,
    host,
    port,
    path,
    tls: path === undefined ? options.tls : undefined,
    headers: laneHeaders(request, token, nonce),
    impostor: headers => (isSameProof(headers[laneProofNames.answer], answer) ? undefined : wrongAnswer(address)),
    timeoutMs: options.timeoutMs ?? 10_000,
    signal: options.signal,
    limits: { maxPayloadBytes: options.maxPayloadBytes ?? defaultMaxPayloadBytes, generation, fromRank: peer },
    address,
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

function wrongAnswer(address: string): SkeinError {
  return new SkeinError(TransportErrors.UNAUTHORIZED, {
    what: `${address} is open, but who answers does not know the token of this generation`,
    why: 'another process has taken over the address, or runs another version of Skein',
    todo: 'look what listens there; nothing was read from it',
    details: { address },
  })
}

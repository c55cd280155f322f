import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { type ErrorCode, SkeinError } from '@skein/core'
import { TransportErrors } from './errors.ts'
import type { RefusalReason } from './refusals.ts'

/** How an upgrade is refused over HTTP: the status says what kind, the text why. */
export interface Refusal {
  readonly status: 400 | 401 | 403 | 404 | 409 | 426 | 503
  /** As it is counted. */
  readonly reason: RefusalReason
  readonly why: string
}

const reasonHeader = 'x-skein-reason'
/** Where a standby says who leads: an http(s) URL. */
const leaderHeader = 'x-skein-leader'

/** Answers and closes. The socket must have its 'error' handler already. */
export function refuseUpgrade(socket: Duplex, { status, why }: Pick<Refusal, 'status' | 'why'>): void {
  const body = `${why}\n`
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    'Connection: close',
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    `${reasonHeader}: ${why.replaceAll(/[^\x20-\x7e]/g, '?')}`,
    ...(status === 401 ? ['WWW-Authenticate: Bearer'] : []),
    ...(status === 426 ? ['Upgrade: websocket, skein-lane/1'] : []),
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy())
}

/** What such an answer means at the dialer. `address` is for the message; `headers` have lower-case names. */
export function refusedBy(
  address: string,
  status: number,
  headers: Readonly<Record<string, string | string[] | undefined>>,
): SkeinError {
  if (status === 426 && String(headers['upgrade']).startsWith('TLS/')) return tlsNeeded(address)
  const given = headers[reasonHeader]
  if (status === 421 && given !== undefined) return standsBy(address, headers[leaderHeader])
  const why = typeof given === 'string' ? given.slice(0, 300) : `HTTP status ${status}`
  const [row, todo] = meaningOf(status, given !== undefined)
  return new SkeinError(row, { what: `${address} refused the connection`, why, todo, details: { address, status } })
}

/** A port that takes TLS only says so to plain requests: status 426, `Upgrade: TLS/1.3`. */
export function tlsNeeded(address: string): SkeinError {
  return new SkeinError(TransportErrors.TLS_NEEDED, {
    what: `${address} takes TLS only, and was dialled without`,
    why: 'it was started with a certificate, and this side with an http:// address or without one',
    todo: 'use https:// in the address, and --tls DIR with the files that `skein certs` made',
    details: { address },
  })
}

function standsBy(address: string, given: string | string[] | undefined): SkeinError {
  const leader = typeof given === 'string' ? given.slice(0, 300) : undefined
  return new SkeinError(TransportErrors.STANDBY, {
    what: `${address} stands by`,
    why: leader === undefined ? 'it does not know yet who leads the run' : `${leader} leads the run`,
    todo: leader === undefined ? 'try again in a moment' : 'use the address of the one that leads',
    details: { address, ...(leader === undefined ? {} : { leader }) },
  })
}

function meaningOf(status: number, isSkein: boolean): readonly [ErrorCode, string] {
  if (status === 403 && isSkein) {
    return [TransportErrors.TLS_REFUSED, 'pass the certificate that `skein certs` made for this host: --tls DIR']
  }
  if (status === 401 || status === 403) {
    return [TransportErrors.UNAUTHORIZED, 'use the token that the coordinator was started with or printed']
  }
  if (status === 409) return [TransportErrors.REFUSED, 'nothing; the next generation brings new lanes']
  if (status === 503) return [TransportErrors.BUSY, 'try again; else raise the limit of connections there']
  const todo = isSkein ? 'run the same version on all machines' : 'check host and port; something else listens there'
  return [TransportErrors.HANDSHAKE_INVALID, todo]
}

import { SkeinError } from '@skein/core'
import { TransportErrors } from './errors.ts'

/** How a link or lane ended. Only `closed-by-us` is the wish of this side. */
export type CloseKind = 'closed-by-us' | 'closed-by-peer' | 'reset' | 'heartbeat-lost' | 'protocol-error'

export interface CloseReason {
  readonly kind: CloseKind
  /** What to tell whoever still waits for something on this link. */
  readonly error: SkeinError
  /** Of `error`. */
  readonly code: string
  readonly what: string
}

export function closeReason(kind: CloseKind, error: SkeinError): CloseReason {
  return { kind, error, code: error.code, what: error.what }
}

/** `name` says which link: "the lane from rank 2". */
export function closedByUs(name: string, reason?: string): CloseReason {
  return closeReason(
    'closed-by-us',
    new SkeinError(TransportErrors.CLOSED, {
      what: `${name} was closed here${reason === undefined ? '' : `: ${reason}`}`,
      todo: 'nothing; its owner asked for it',
    }),
  )
}

export function closedByPeer(name: string, reason = ''): CloseReason {
  return closeReason(
    'closed-by-peer',
    new SkeinError(TransportErrors.PEER_CLOSED, {
      what: `${name} was closed by the peer${reason === '' ? '' : `: ${reason}`}`,
      why: 'the peer ended, or left this generation',
      todo: "read the end of the peer's log",
    }),
  )
}

export function resetByPeer(name: string, during: string, cause?: unknown): CloseReason {
  const code = errnoOf(cause)
  return closeReason(
    'reset',
    new SkeinError(TransportErrors.PEER_RESET, {
      what: `${name} broke ${during}${code === undefined ? '' : ` (${code})`}`,
      why: 'the peer died or was killed, or the network between failed',
      todo: "look whether the peer's process still runs and read the end of its log",
      ...(code === undefined ? {} : { details: { errno: code } }),
      ...(cause === undefined ? {} : { cause }),
    }),
  )
}

/** The code of an error of the operating system or of Node: ECONNREFUSED, … */
export function errnoOf(cause: unknown): string | undefined {
  if (typeof cause !== 'object' || cause === null || !('code' in cause)) return undefined
  return typeof cause.code === 'string' ? cause.code : undefined
}

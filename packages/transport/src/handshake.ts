import { abortedError, SkeinError } from '@skein/core'
import { errnoOf } from './close-reason.ts'
import { TransportErrors } from './errors.ts'
import { tlsDialError } from './tls-identity.ts'

export interface HandshakeLimits {
  /** From the dial to the open link, in ms. */
  readonly timeoutMs: number
  readonly signal?: AbortSignal
}

/**
 * Runs one dial to its end: `start` gets the two ways out, and `stop` is called when it must give up. First outcome wins; neither
 * timer nor listener is left behind.
 */
export function handshake<T>(
  address: string,
  { timeoutMs, signal }: HandshakeLimits,
  start: (succeed: (value: T) => void, fail: (thrown: unknown) => void) => { readonly stop: () => void },
): Promise<T> {
  if (signal?.aborted === true) return Promise.reject(abortedError(`dialling ${address}`, signal))
  return new Promise<T>((resolve, reject) => {
    let isOver = false
    let stop: (() => void) | undefined
    const settle = (how: () => void) => {
      if (isOver) return
      isOver = true
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      how()
    }
    const fail = (thrown: unknown) =>
      settle(() => {
        reject(dialError(address, thrown))
        stop?.()
      })
    const onAbort = () => fail(signal === undefined ? undefined : abortedError(`dialling ${address}`, signal))
    const timer = setTimeout(() => fail(tooLate(address, timeoutMs)), timeoutMs)
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      stop = start(value => settle(() => resolve(value)), fail).stop
    } catch (thrown) {
      fail(thrown)
    }
  })
}

/** Any failure of a dial as what it means: nobody there, not one of us, or what it says itself. */
function dialError(address: string, thrown: unknown): SkeinError {
  if (thrown instanceof SkeinError) return thrown
  const untrusted = tlsDialError(address, thrown)
  if (untrusted !== undefined) return untrusted
  const errno = errnoOf(thrown)
  if (errno !== undefined && /^E[A-Z0-9_]+$/.test(errno) && !errno.startsWith('ERR_')) {
    return new SkeinError(TransportErrors.UNREACHABLE, {
      what: `${address} cannot be reached (${errno})`,
      why:
        errno === 'ECONNREFUSED'
          ? 'nothing listens there'
          : 'the host, the name or the way to it is not right, or it went away',
      todo: 'check host, port and firewall, and that the process there runs',
      details: { address, errno },
      cause: thrown,
    })
  }
  return notSkein(address, thrown instanceof Error ? thrown.message : String(thrown), thrown)
}

export function notSkein(address: string, what: string, cause?: unknown): SkeinError {
  return new SkeinError(TransportErrors.HANDSHAKE_INVALID, {
    what: `${address} does not answer as Skein does: ${what.slice(0, 300)}`,
    why: 'another program listens there, or something between answers in its place',
    todo: 'check host and port',
    details: { address },
    ...(cause === undefined ? {} : { cause }),
  })
}

function tooLate(address: string, timeoutMs: number): SkeinError {
  return new SkeinError(TransportErrors.HANDSHAKE_TIMEOUT, {
    what: `${address} did not finish the handshake within ${timeoutMs} ms`,
    why: 'the process there hangs or is overloaded, another program listens there, or packets are dropped on the way',
    todo: 'look at the process there; else check the firewall',
    details: { address, timeoutMs },
  })
}

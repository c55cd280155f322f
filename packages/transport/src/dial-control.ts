import { SkeinError } from '@skein/core'
import { decodeCoordinatorMessage, defaultMaxMessageBytes, encodeWorkerMessage } from '@skein/wire'
import { controlPath } from './attach-control.ts'
import { type ControlLimits, type ControlLink, WsControlLink } from './control-link.ts'
import { TransportErrors } from './errors.ts'
import type { TlsTrust } from './tls-identity.ts'
import { openWebSocket } from './web-sockets.ts'

export interface DialControlOptions extends ControlLimits {
  /** http(s) URL of the coordinator; a path before `/control` is kept. */
  readonly url: string
  readonly token: string
  /** For an https URL: whom to believe, and what to show; default: the authorities of the system, and nothing. */
  readonly tls?: TlsTrust
  /** From the dial to the open link; default 10 s. */
  readonly timeoutMs?: number
  /** Gives up dialling; an open link is closed by `close` only. */
  readonly signal?: AbortSignal
}

/**
 * Opens a worker's control link. One attempt; an error with `retry: 'same-op'` is worth another.
 * @throws SKEIN_TRANSPORT_UNREACHABLE, _HANDSHAKE_TIMEOUT, _HANDSHAKE_INVALID, _UNAUTHORIZED, _BUSY, _STANDBY, _BAD_ADDRESS, _TLS_…; SKEIN_ABORTED
 */
export async function dialControl(options: DialControlOptions): Promise<ControlLink> {
  const { token, tls, timeoutMs = 10_000, signal } = options
  const maxMessageBytes = options.maxMessageBytes ?? defaultMaxMessageBytes
  const url = controlUrl(options.url)
  const codec = { encode: encodeWorkerMessage, decode: decodeCoordinatorMessage }
  return openWebSocket(
    {
      address: `the coordinator at ${options.url}`,
      url: url.href,
      headers: { authorization: `Bearer ${token}` },
      maxPayload: maxMessageBytes,
      timeoutMs,
      ...(tls === undefined ? {} : { tls }),
      ...(signal === undefined ? {} : { signal }),
    },
    ws => new WsControlLink(ws, `the coordinator at ${url.host}`, codec, { ...options, maxMessageBytes }),
  )
}

function controlUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new SkeinError(TransportErrors.BAD_ADDRESS, {
      what: `"${text}" is not the address of a coordinator`,
      why: 'an address begins with http:// or https://',
      todo: 'use the address that the coordinator printed, such as http://10.0.0.7:4321',
    })
  }
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  url.pathname = `${url.pathname.replace(/\/+$/, '')}${controlPath}`
  url.search = ''
  url.hash = ''
  return url
}

import type { SkeinError } from '@skein/core'
import { type ClientOptions, type ServerOptions, WebSocket, WebSocketServer } from 'ws'
import { type HandshakeLimits, handshake } from './handshake.ts'
import { keepAlive } from './keep-alive.ts'
import { unexpectedData } from './lane-checks.ts'
import { refusedBy } from './refusal.ts'
import { type TlsTrust, tlsClientOptions } from './tls-identity.ts'

export interface WebSocketDial extends HandshakeLimits {
  /** For messages. */
  readonly address: string
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** Largest message taken. */
  readonly maxPayload: number
  /** For a wss URL. */
  readonly tls?: TlsTrust
  /** Why an answer that opens the WebSocket is not to be believed, by its headers. */
  readonly impostor?: (headers: Readonly<Record<string, string | string[] | undefined>>) => SkeinError | undefined
}

/** What both sides of every WebSocket agree on. `closeTimeout` is missing from the types of `ws`. */
const common: ClientOptions & ServerOptions & { readonly closeTimeout: number } = {
  perMessageDeflate: false,
  /** Time for the closing handshake before the socket is cut, in ms. */
  closeTimeout: 2_000,
}

/** Finishes the handshakes of requests that are routed to it; tracks nothing. */
export function webSocketServer(maxPayload: number): WebSocketServer {
  return new WebSocketServer({ ...common, noServer: true, clientTracking: false, maxPayload })
}

/** Dials a WebSocket; `wrap` takes it over in the turn in which it opens, before any message of it is delivered. */
export function openWebSocket<T>(dial: WebSocketDial, wrap: (ws: WebSocket) => T): Promise<T> {
  return handshake<T>(dial.address, dial, (succeed, fail) => {
    const ws = new WebSocket(dial.url, {
      ...common,
      headers: dial.headers,
      maxPayload: dial.maxPayload,
      ...(dial.tls === undefined ? {} : tlsClientOptions(dial.tls)),
      followRedirects: false,
    })
    ws.on('error', fail)
    ws.on('unexpected-response', (request, response) => {
      fail(refusedBy(dial.address, response.statusCode ?? 0, response.headers))
      request.destroy()
    })
    ws.on('upgrade', response => {
      keepAlive(response.socket)
      const impostor = dial.impostor?.(response.headers)
      if (impostor !== undefined) fail(impostor)
    })
    ws.on('open', () => succeed(wrap(ws)))
    return { stop: () => ws.terminate() }
  })
}

/** What an 'error' of `ws` says if the peer broke the WebSocket protocol or a size limit; undefined for errors of the socket. */
export function brokenWebSocket(name: string, cause: Error): SkeinError | undefined {
  if (!('code' in cause) || !String(cause.code).startsWith('WS_ERR_')) return undefined
  return unexpectedData(name, `a broken message: ${cause.message}`)
}

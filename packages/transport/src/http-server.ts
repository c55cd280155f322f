import http from 'node:http'
import https from 'node:https'
import type { ConnectionGuard, HttpServer } from './connection-guard.ts'
import { type TlsIdentity, tlsServerOptions } from './tls-identity.ts'

export interface HttpServerOptions {
  readonly onRequest: http.RequestListener
  readonly guard: ConnectionGuard
  /**
   * From the connection to the complete request, in ms, where the guard does not see to it: on Unix sockets and for whoever was let in. To be
   * longer than the guard's own time, so that one stranger is counted once.
   */
  readonly requestTimeoutMs: number
  /** With it the port speaks TLS and nothing else. */
  readonly tls?: TlsIdentity | undefined
}

/** Bytes of a request head: ours are below 1 KiB. */
const maxHeadBytes = 8 * 1024

/** A server that does not listen yet, with the limits that every port of ours has, and its guard before it. */
export function createHttpServer({ onRequest, guard, requestTimeoutMs, tls }: HttpServerOptions): HttpServer {
  const options: http.ServerOptions = {
    maxHeaderSize: maxHeadBytes,
    headersTimeout: requestTimeoutMs,
    requestTimeout: requestTimeoutMs,
    connectionsCheckingInterval: Math.min(1_000, requestTimeoutMs),
    noDelay: true,
  }
  const server =
    tls === undefined
      ? http.createServer(options, onRequest)
      : https.createServer({ ...options, ...tlsServerOptions(tls), handshakeTimeout: requestTimeoutMs }, onRequest)
  guard.watch(server)
  return server
}

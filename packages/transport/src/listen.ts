import type http from 'node:http'
import { once } from 'node:events'
import type net from 'node:net'
import { SkeinError } from '@skein/core'
import type { Logger } from '@skein/telemetry'
import { removeAbandonedSocket } from './abandoned-socket.ts'
import { errnoOf } from './close-reason.ts'
import { ConnectionGuard, type HttpServer } from './connection-guard.ts'
import { TransportErrors } from './errors.ts'
import { createHttpServer } from './http-server.ts'
import { type LocalSocket, openLocalSocket } from './local-socket.ts'
import { type RefusalCounts, Refusals } from './refusals.ts'
import type { TlsIdentity } from './tls-identity.ts'
import { closeUpgrades } from './upgrade-routes.ts'

export interface ListenOptions {
  /** Address to listen on; default loopback. */
  readonly host?: string
  /** 0 (default): any free port. */
  readonly port?: number
  /** A Unix socket path instead of host and port. What a killed process has left there is removed. */
  readonly path?: string
  /** Serves a Unix socket beside the port, in a private folder of its own, for peers on this host; default false. */
  readonly local?: boolean
  /** Ordinary HTTP requests; default: 426, use an upgrade. */
  readonly onRequest?: http.RequestListener
  /** Connections of all kinds at a time; more are dropped by the system. Default 1024. */
  readonly maxConnections?: number
  /** Connections at a time that have not shown a token; see ConnectionGuard. Default 256. */
  readonly maxStrangers?: number
  /** From the connection to the token, in ms; twice that to the request head on the Unix socket. Default 10 s. */
  readonly headersTimeoutMs?: number
  /** With it the port speaks TLS only; with its `ca` it gives links and lanes to owners of a certificate of that alone. */
  readonly tls?: TlsIdentity
  /** Hears of refused connections, a bounded number of lines. */
  readonly logger?: Logger
}

/** One HTTP port. Control links and lanes attach to its server. */
export interface Listener {
  readonly server: HttpServer
  readonly host: string
  /** The real one, where 0 was asked for; 0 for a path. */
  readonly port: number
  readonly path: string | undefined
  /** Of the socket beside the port, if asked for. */
  readonly localPath: string | undefined
  /** Who was turned away here so far. */
  refused(): RefusalCounts
  /** Closes the port, what is attached to it and every connection; idempotent. */
  close(): Promise<void>
}

/** Opens the port. @throws SKEIN_TRANSPORT_PORT_IN_USE, SKEIN_TRANSPORT_LISTEN_FAILED */
export async function listen(options: ListenOptions = {}): Promise<Listener> {
  const { host = '127.0.0.1', port = 0, path } = options
  const headersTimeoutMs = options.headersTimeoutMs ?? 10_000
  const refusals = new Refusals(options.logger)
  const guard = new ConnectionGuard({
    strangerMs: headersTimeoutMs,
    refusals,
    ...(options.maxStrangers === undefined ? {} : { maxStrangers: options.maxStrangers }),
  })
  const server = createHttpServer({
    onRequest: options.onRequest ?? wantUpgrade,
    guard,
    requestTimeoutMs: 2 * headersTimeoutMs,
    tls: options.tls,
  })
  server.maxConnections = options.maxConnections ?? 1024
  try {
    await bind(server, path === undefined ? { host, port } : { path })
  } catch (cause) {
    throw listenError(path ?? `${host} port ${port}`, cause, path !== undefined)
  }
  // Errors of accepting (no file handles left) concern one connection, not the port.
  server.on('error', () => undefined)
  const address = server.address()
  let local: LocalSocket | undefined
  try {
    if (options.local === true) local = await openLocalSocket(server)
  } catch (cause) {
    server.close()
    throw listenError('a Unix socket beside the port', cause)
  }
  let closing: Promise<void> | undefined
  const close = async () => {
    const closed = once(server, 'close')
    server.close()
    closeUpgrades(server)
    server.closeAllConnections()
    await Promise.all([closed, local?.close()])
  }
  return {
    server,
    host,
    port: typeof address === 'object' && address !== null ? address.port : 0,
    path,
    localPath: local?.path,
    refused: () => refusals.counts(),
    close() {
      closing ??= close()
      return closing
    },
  }
}

async function bind(server: HttpServer, place: net.ListenOptions): Promise<void> {
  const { path } = place
  try {
    server.listen(place)
    await once(server, 'listening')
  } catch (cause) {
    if (path === undefined || errnoOf(cause) !== 'EADDRINUSE' || !(await removeAbandonedSocket(path))) throw cause
    server.listen(place)
    await once(server, 'listening')
  }
}

/** The answer to ordinary requests on a port that has none to answer. */
export function wantUpgrade(_: http.IncomingMessage, response: http.ServerResponse): void {
  response.writeHead(426, { Upgrade: 'websocket, skein-lane/1', 'Content-Type': 'text/plain' })
  response.end('this port takes Skein links only\n')
}

function listenError(where: string, cause: unknown, isPath = false): SkeinError {
  const errno = errnoOf(cause)
  if (errno === 'EADDRINUSE') {
    return new SkeinError(TransportErrors.PORT_IN_USE, {
      what: `${where} is in use`,
      ...(isPath
        ? {
            why: 'another process listens there, or a file that is no socket is in the way',
            todo: 'choose another path, end that process, or move the file',
          }
        : {
            why: 'another process listens there',
            todo: 'choose another port, 0 for any free one, or end that process',
          }),
      details: { where },
      cause,
    })
  }
  return new SkeinError(TransportErrors.LISTEN_FAILED, {
    what: `cannot listen on ${where}${errno === undefined ? '' : ` (${errno})`}`,
    why: errno === 'EACCES' ? 'this process has no right to' : 'the address is not one of this machine',
    todo: 'choose an address of this machine (127.0.0.1, or 0.0.0.0 for all) and a port above 1023',
    details: { where, ...(errno === undefined ? {} : { errno }) },
    cause,
  })
}

import type http from 'node:http'
import type https from 'node:https'
import type { Socket } from 'node:net'
import tls from 'node:tls'
import { type Clock, type Ms, systemClock } from '@skein/core'
import { errnoOf } from './close-reason.ts'
import { type RefusalReason, Refusals } from './refusals.ts'
import { Strangers } from './strangers.ts'

export type HttpServer = http.Server | https.Server

export interface GuardOptions {
  /** Connections at a time that have not shown the token; one more puts out the oldest of the busiest address. Default 256. */
  readonly maxStrangers?: number
  /** From the connection, or its last whole request, to the token, in ms; default 10 s. */
  readonly strangerMs?: Ms
  readonly refusals?: Refusals
  readonly clock?: Clock
}

export const defaultMaxStrangers = 256
export const defaultStrangerMs: Ms = 10_000

/** First byte of every TLS connection: a handshake record. */
const tlsHandshakeRecord = 0x16
/** An answer that a plain HTTP client understands, and that a TLS client sees to be no TLS. */
const plainRefusal = (why: string, upgrade: string) =>
  `HTTP/1.1 426 Upgrade Required\r\nConnection: close\r\nUpgrade: ${upgrade}\r\nContent-Length: ${why.length}\r\n` +
  `x-skein-reason: ${why}\r\n\r\n${why}`
const tlsOnly = 'this port takes TLS only: use https'

const guards = new WeakMap<HttpServer, ConnectionGuard>()

/** The guard of a server; one that only counts, and puts nobody out, where its owner has not made one. */
export function guardOf(server: HttpServer): ConnectionGuard {
  let guard = guards.get(server)
  if (guard === undefined) {
    guard = new ConnectionGuard({ maxStrangers: Number.POSITIVE_INFINITY, strangerMs: Number.POSITIVE_INFINITY })
    guards.set(server, guard)
  }
  return guard
}

/**
 * Bounds what strangers cost a port: how many of them there are, and for how long. Whoever has shown the token is let in, and is nobody's
 * business here any more. Sockets of the same host's Unix socket are not watched: its folder is private.
 */
export class ConnectionGuard {
  readonly refusals: Refusals
  readonly #strangers: Strangers<Socket>
  readonly #strangerMs: Ms
  readonly #clock: Clock
  /** The TCP socket below a TLS one has the same two ends. */
  readonly #byEnds = new Map<string, Socket>()
  #timer: ReturnType<typeof setInterval> | undefined

  constructor(options: GuardOptions = {}) {
    const { maxStrangers = defaultMaxStrangers, strangerMs = defaultStrangerMs, clock = systemClock } = options
    this.refusals = options.refusals ?? new Refusals(undefined, clock)
    this.#strangers = new Strangers(maxStrangers)
    this.#strangerMs = strangerMs
    this.#clock = clock
  }

  get numStrangers(): number {
    return this.#strangers.size
  }

  /** Stands before every connection of `server` from now on; to be called before it listens. */
  watch(server: HttpServer): void {
    guards.set(server, this)
    const accept = server.listeners('connection') as ((socket: Socket) => void)[]
    server.removeAllListeners('connection')
    const isTls = server instanceof tls.Server
    server.on('connection', (socket: Socket) => {
      this.#admit(socket)
      const enter = () => {
        for (const listener of accept) listener.call(server, socket)
      }
      if (isTls) this.#whenTls(socket, enter)
      else enter()
    })
    server.on('request', ({ socket }: http.IncomingMessage) => {
      const stranger = this.#strangerOf(socket)
      if (stranger !== undefined) this.#strangers.renew(stranger, this.#clock.now())
    })
    server.on('clientError', (error: Error, socket: Socket) => {
      const reason = reasonOf(error, socket, isTls)
      if (reason !== undefined) this.refuse(socket, reason)
      if (reason === 'tlsOnPlain' && socket.writable) socket.end(plainRefusal('this port takes no TLS', 'websocket'))
      else socket.destroy()
    })
    server.on('close', () => this.#stopTimer())
  }

  /** This connection has shown the token, or is held where there are bounds of their own. */
  letIn(socket: Socket): void {
    const stranger = this.#strangerOf(socket)
    if (stranger !== undefined) this.#forget(stranger)
  }

  /** Counts it; the caller answers and closes. */
  refuse(socket: Socket, reason: RefusalReason, facts: Readonly<Record<string, unknown>> = {}): void {
    this.refusals.note(reason, { remote: socket.remoteAddress, ...facts })
  }

  #admit(socket: Socket): void {
    const ends = endsOf(socket)
    if (ends === undefined || this.#strangerMs === Number.POSITIVE_INFINITY) return
    const outgoing = this.#strangers.add(socket, socket.remoteAddress ?? '', this.#clock.now())
    this.#byEnds.set(ends, socket)
    socket.once('close', () => this.#forget(socket, ends))
    if (outgoing !== undefined) this.#putOut(outgoing, 'halfOpen')
    this.#timer ??= setInterval(() => this.#tick(), Math.min(500, this.#strangerMs / 2))
  }

  /** Lets a TLS server see only what begins as TLS; until then a connection costs no more than its socket. */
  #whenTls(socket: Socket, enter: () => void): void {
    const stop = () => socket.destroy()
    socket.on('error', stop)
    socket.once('end', stop)
    socket.once('data', (first: Buffer) => {
      socket.pause()
      socket.off('error', stop)
      socket.off('end', stop)
      if (first[0] === tlsHandshakeRecord) {
        socket.unshift(first)
        enter()
        return
      }
      socket.on('error', () => undefined)
      this.refuse(socket, /^[A-Z]+ /.test(first.toString('latin1', 0, 16)) ? 'plainOnTls' : 'garbage')
      socket.resume()
      socket.end(plainRefusal(tlsOnly, 'TLS/1.3'), () => socket.destroy())
    })
  }

  #tick(): void {
    for (const late of this.#strangers.since(this.#clock.now() - this.#strangerMs)) this.#putOut(late, 'slow')
    if (this.#strangers.size === 0) this.#stopTimer()
  }

  /** Without a word, and without a trace in the system's tables. */
  #putOut(socket: Socket, reason: RefusalReason): void {
    this.refuse(socket, reason)
    this.#forget(socket)
    socket.resetAndDestroy()
  }

  #forget(socket: Socket, ends = endsOf(socket)): void {
    this.#strangers.remove(socket)
    if (ends !== undefined && this.#byEnds.get(ends) === socket) this.#byEnds.delete(ends)
  }

  #strangerOf(socket: Socket): Socket | undefined {
    const ends = endsOf(socket)
    return ends === undefined ? undefined : this.#byEnds.get(ends)
  }

  #stopTimer(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

/** Names a TCP connection by its far end; undefined for a Unix socket, and for a connection that is gone. */
function endsOf({ remoteAddress, remotePort, localPort }: Socket): string | undefined {
  return remotePort === undefined ? undefined : `${remoteAddress} ${remotePort} ${localPort}`
}

/** What http or tls found wrong with a client; undefined where it merely went away, or was put out before. */
function reasonOf(
  error: Error & { readonly rawPacket?: Buffer },
  socket: Socket,
  isTls: boolean,
): RefusalReason | undefined {
  const code = errnoOf(error) ?? ''
  if (code.startsWith('ERR_SSL_')) return 'tlsHandshake' // its socket is destroyed already
  if (socket.destroyed || code === 'HPE_INVALID_EOF_STATE') return undefined
  if (code === 'HPE_HEADER_OVERFLOW') return 'oversizedHead'
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT' || code === 'ERR_TLS_HANDSHAKE_TIMEOUT') return 'slow'
  if (code.startsWith('HPE_')) return !isTls && error.rawPacket?.[0] === tlsHandshakeRecord ? 'tlsOnPlain' : 'garbage'
  return undefined
}

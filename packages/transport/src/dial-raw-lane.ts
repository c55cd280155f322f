import net from 'node:net'
import tls from 'node:tls'
import { type Rank, rank, type SkeinError } from '@skein/core'
import { type CloseReason, closedByPeer, closedByUs, closeReason, resetByPeer } from './close-reason.ts'
import type { LaneDial } from './dial-lane.ts'
import { FrameReader, readAheadBytes } from './frame-reader.ts'
import { handshake, notSkein } from './handshake.ts'
import { keepAlive } from './keep-alive.ts'
import { lanePath, rawLaneProtocol } from './lane-request.ts'
import type { LaneReader } from './lane.ts'
import { refusedBy } from './refusal.ts'
import { parseResponseHead } from './response-head.ts'
import { serverNameOf, type TlsTrust, tlsClientOptions } from './tls-identity.ts'

/** Bytes of the answer to the upgrade, head and whatever comes right behind it. */
const maxHeadBytes = 4096

/**
 * Dials a raw lane. libuv reads payloads into the memory that the sink gives: nothing is allocated, joined or copied but headers
 * and the two ends of a payload. Only a connecting socket can do that (`onread`), so the upgrade is spoken by hand. With TLS it is
 * OpenSSL's buffer that is copied from.
 */
export function dialRawLane(dial: LaneDial): Promise<LaneReader> {
  return handshake<LaneReader>(dial.address, limitsOf(dial), (succeed, fail) => {
    const head = new Uint8Array(maxHeadBytes)
    let headFilled = 0
    let hasFailed = false
    let lane: RawLaneReader | undefined
    const refuse = (error: SkeinError) => {
      hasFailed = true
      fail(error)
    }
    const onHead = (bytes: number): boolean => {
      // A TLS socket goes on to the end of its record, also after it was destroyed.
      if (hasFailed) return false
      headFilled += bytes
      const response = parseResponseHead(head.subarray(0, headFilled))
      if (response === undefined) {
        if (headFilled === maxHeadBytes) refuse(notSkein(dial.address, 'an endless response'))
        return headFilled < maxHeadBytes
      }
      if (response === 'garbage') refuse(notSkein(dial.address, 'not HTTP'))
      else if (response.status !== 101) refuse(refusedBy(dial.address, response.status, response.headers))
      else if (response.headers['upgrade'] !== rawLaneProtocol) refuse(notSkein(dial.address, 'another protocol'))
      else {
        const impostor = dial.impostor(response.headers)
        if (impostor !== undefined) {
          refuse(impostor)
          return false
        }
        lane = new RawLaneReader(socket, dial)
        succeed(lane)
        lane.begin(head.slice(response.headBytes, headFilled))
      }
      return false
    }
    const onread: net.OnReadOpts = {
      buffer: () => lane?.buffer() ?? (hasFailed ? new Uint8Array(maxHeadBytes) : head.subarray(headFilled)),
      callback: (bytes, target) => (lane === undefined ? onHead(bytes) : lane.filled(target as Uint8Array, bytes)),
    }
    const socket = dial.tls === undefined ? connectPlain(dial, onread) : connectTls(dial, dial.tls, onread)
    socket.on('error', fail)
    socket.on('close', () => fail(notSkein(dial.address, 'it closed the connection during the handshake')))
    socket.on(dial.tls === undefined ? 'connect' : 'secureConnect', () => {
      keepAlive(socket)
      socket.write(upgradeRequest(dial))
    })
    return { stop: () => socket.destroy() }
  })
}

function connectPlain({ path, host, port }: LaneDial, onread: net.OnReadOpts): net.Socket {
  return net.connect({ ...(path === undefined ? { host, port } : { path }), noDelay: true, onread })
}

/** `onread` is known to Node's TLS sockets, too, and documented, but missing from their types. */
function connectTls({ host, port }: LaneDial, trust: TlsTrust, onread: net.OnReadOpts): net.Socket {
  const options: tls.ConnectionOptions & { readonly onread: net.OnReadOpts } = {
    host,
    port,
    onread,
    ...serverNameOf(host, net.isIP(host) !== 0),
    ...tlsClientOptions(trust),
  }
  return tls.connect(options).setNoDelay(true)
}

function limitsOf({ timeoutMs, signal }: LaneDial) {
  return signal === undefined ? { timeoutMs } : { timeoutMs, signal }
}

function upgradeRequest(dial: LaneDial): string {
  const { host, port, path } = dial
  const headers = {
    host: path === undefined ? `${host.includes(':') ? `[${host}]` : host}:${port}` : 'localhost',
    connection: 'Upgrade',
    upgrade: rawLaneProtocol,
    ...dial.headers,
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  return `GET ${lanePath} HTTP/1.1\r\n${lines.join('')}\r\n`
}

class RawLaneReader implements LaneReader {
  readonly peer: Rank
  readonly closed: Promise<CloseReason>
  readonly #socket: net.Socket
  readonly #dial: LaneDial
  readonly #frames: FrameReader
  readonly #settle: (reason: CloseReason) => void
  /** What a TLS socket delivers with the head, at most a record. */
  readonly #early: Uint8Array[] = []
  #hasBegun = false
  #hasEnded = false

  constructor(socket: net.Socket, dial: LaneDial) {
    const { promise, resolve } = Promise.withResolvers<CloseReason>()
    this.peer = rank(dial.peer)
    this.closed = promise
    this.#settle = resolve
    this.#socket = socket
    this.#dial = dial
    this.#frames = new FrameReader(dial.sink, dial.limits, error => {
      this.#end(closeReason('protocol-error', error))
      dial.sink.failed(error)
    })
    let cause: unknown
    socket.on('error', error => {
      cause = error
    })
    socket.on('end', () => this.#end(this.#frames.isMidFrame ? this.#broken(cause) : closedByPeer(dial.name)))
    socket.on('close', () => this.#end(this.#broken(cause)))
  }

  /** Starts reading in a later turn, with what came behind the head of the response. */
  begin(rest: Uint8Array): void {
    this.#early.push(rest)
    setImmediate(() => {
      if (this.#hasEnded) return
      this.#hasBegun = true
      for (const bytes of this.#early.splice(0)) if (bytes.byteLength > 0) this.#frames.feed(bytes)
      this.#readOn()
    })
  }

  buffer(): Uint8Array {
    return this.#hasBegun ? this.#frames.buffer() : new Uint8Array(readAheadBytes)
  }

  /** False stops the reading. */
  filled(target: Uint8Array, bytes: number): boolean {
    if (!this.#hasBegun) {
      this.#early.push(target.slice(0, bytes))
      return false
    }
    this.#frames.filled(target, bytes)
    return this.#frames.wantsBytes
  }

  resume(): void {
    if (!this.#hasBegun || this.#hasEnded) return
    this.#frames.resume()
    this.#readOn()
  }

  close(): void {
    this.#end(closedByUs(this.#dial.name))
  }

  #readOn(): void {
    if (this.#frames.wantsBytes) this.#socket.resume()
  }

  #broken(cause: unknown): CloseReason {
    return resetByPeer(this.#dial.name, this.#frames.isMidFrame ? 'in the middle of a frame' : 'between frames', cause)
  }

  #end(reason: CloseReason): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#frames.end()
    this.#settle(reason)
    this.#socket.destroy()
  }
}

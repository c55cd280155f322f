import net from 'node:net'
import { type Rank, rank } from '@skein/core'
import { type CloseReason, closedByPeer, closedByUs, closeReason, resetByPeer } from './close-reason.ts'
import type { LaneDial } from './dial-lane.ts'
import { FrameReader } from './frame-reader.ts'
import { handshake, notSkein } from './handshake.ts'
import { laneHeaders, lanePath, rawLaneProtocol } from './lane-request.ts'
import type { LaneReader } from './lane.ts'
import { refusedBy } from './refusal.ts'
import { parseResponseHead } from './response-head.ts'

/** Bytes of the answer to the upgrade, head and whatever comes right behind it. */
const maxHeadBytes = 4096

/**
 * Dials a raw lane. libuv reads payloads into the memory that the sink gives: nothing is allocated, joined or copied but headers
 * and the two ends of a payload. Only a connecting socket can do that (`onread`), so the upgrade is spoken by hand.
 */
export function dialRawLane(dial: LaneDial): Promise<LaneReader> {
  return handshake<LaneReader>(dial.address, limitsOf(dial), (succeed, fail) => {
    const head = new Uint8Array(maxHeadBytes)
    let headFilled = 0
    let lane: RawLaneReader | undefined
    const onHead = (bytes: number): boolean => {
      headFilled += bytes
      const response = parseResponseHead(head.subarray(0, headFilled))
      if (response === undefined) {
        if (headFilled === maxHeadBytes) fail(notSkein(dial.address, 'an endless response'))
        return headFilled < maxHeadBytes
      }
      if (response === 'garbage') fail(notSkein(dial.address, 'not HTTP'))
      else if (response.status !== 101) fail(refusedBy(dial.address, response.status, response.headers))
      else if (response.headers['upgrade'] !== rawLaneProtocol) fail(notSkein(dial.address, 'another protocol'))
      else {
        lane = new RawLaneReader(socket, dial)
        succeed(lane)
        lane.begin(head.slice(response.headBytes, headFilled))
      }
      return false
    }
    const socket = net.connect({
      ...(dial.path === undefined ? { host: dial.host, port: dial.port } : { path: dial.path }),
      noDelay: true,
      onread: {
        buffer: () => lane?.buffer() ?? head.subarray(headFilled),
        callback: (bytes, target) => (lane === undefined ? onHead(bytes) : lane.filled(target as Uint8Array, bytes)),
      },
    })
    socket.on('error', fail)
    socket.on('close', () => fail(notSkein(dial.address, 'it closed the connection during the handshake')))
    socket.on('connect', () => socket.write(upgradeRequest(dial)))
    return { stop: () => socket.destroy() }
  })
}

function limitsOf({ timeoutMs, signal }: LaneDial) {
  return signal === undefined ? { timeoutMs } : { timeoutMs, signal }
}

function upgradeRequest(dial: LaneDial): string {
  const { host, port, path, generation, group, channel, rank: from, peer: to, token } = dial
  const headers = {
    host: path === undefined ? `${host.includes(':') ? `[${host}]` : host}:${port}` : 'localhost',
    connection: 'Upgrade',
    upgrade: rawLaneProtocol,
    ...laneHeaders({ generation, group, channel, from, to }, token),
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
    setImmediate(() => {
      if (this.#hasEnded) return
      this.#hasBegun = true
      if (rest.byteLength > 0) this.#frames.feed(rest)
      this.#readOn()
    })
  }

  buffer(): Uint8Array {
    return this.#frames.buffer()
  }

  /** False stops the reading. */
  filled(target: Uint8Array, bytes: number): boolean {
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

import { type Rank, rank, type SkeinError } from '@skein/core'
import { WebSocket } from 'ws'
import { type CloseReason, closedByPeer, closedByUs, closeReason, resetByPeer } from './close-reason.ts'
import type { LaneDial } from './dial-lane.ts'
import { FrameReader } from './frame-reader.ts'
import { lanePath } from './lane-request.ts'
import type { LaneReader } from './lane.ts'
import { unexpectedData } from './lane-checks.ts'
import { brokenWebSocket, openWebSocket } from './web-sockets.ts'
import { wsPieceBytes } from './ws-lane-writer.ts'

/** Dials a lane through a WebSocket. `ws` allocates and joins what it receives, so each payload is copied once more than on a raw lane. */
export async function dialWsLane(dial: LaneDial): Promise<LaneReader> {
  const { host, port, tls } = dial
  const url = `${tls === undefined ? 'ws' : 'wss'}://${host.includes(':') ? `[${host}]` : host}:${port}${lanePath}`
  return openWebSocket(
    {
      address: dial.address,
      url,
      headers: dial.headers,
      impostor: dial.impostor,
      maxPayload: wsPieceBytes,
      timeoutMs: dial.timeoutMs,
      ...(tls === undefined ? {} : { tls }),
      ...(dial.signal === undefined ? {} : { signal: dial.signal }),
    },
    ws => new WsLaneReader(ws, dial),
  )
}

class WsLaneReader implements LaneReader {
  readonly peer: Rank
  readonly closed: Promise<CloseReason>
  readonly #ws: WebSocket
  readonly #dial: LaneDial
  readonly #frames: FrameReader
  readonly #settle: (reason: CloseReason) => void
  #hasBegun = false
  #hasEnded = false

  constructor(ws: WebSocket, dial: LaneDial) {
    const { promise, resolve } = Promise.withResolvers<CloseReason>()
    this.peer = rank(dial.peer)
    this.closed = promise
    this.#settle = resolve
    this.#ws = ws
    this.#dial = dial
    this.#frames = new FrameReader(dial.sink, dial.limits, error => this.#refuse(error))
    let cause: unknown
    ws.pause()
    ws.on('error', error => {
      cause = error
      const broken = brokenWebSocket(dial.name, error)
      if (broken !== undefined) this.#refuse(broken)
    })
    ws.on('close', code => {
      const isOrderly = code === 1000 && !this.#frames.isMidFrame
      this.#end(isOrderly ? closedByPeer(dial.name) : this.#broken(cause))
    })
    ws.on('message', (data, isBinary) => this.#take(data as Buffer, isBinary))
    setImmediate(() => {
      this.#hasBegun = true
      if (!this.#hasEnded) this.#ws.resume()
    })
  }

  resume(): void {
    if (!this.#hasBegun || this.#hasEnded) return
    this.#frames.resume()
    if (this.#frames.wantsBytes) this.#ws.resume()
  }

  close(): void {
    this.#end(closedByUs(this.#dial.name))
  }

  #take(data: Buffer, isBinary: boolean): void {
    if (this.#hasEnded) return
    if (!isBinary) {
      this.#refuse(unexpectedData(this.#dial.name, 'text'))
      return
    }
    this.#frames.feed(data)
    if (!this.#frames.wantsBytes && !this.#hasEnded) this.#ws.pause()
  }

  /** The peer sent what cannot be taken. */
  #refuse(error: SkeinError): void {
    if (this.#hasEnded) return
    this.#end(closeReason('protocol-error', error))
    this.#dial.sink.failed(error)
  }

  #broken(cause: unknown): CloseReason {
    return resetByPeer(this.#dial.name, this.#frames.isMidFrame ? 'in the middle of a frame' : 'between frames', cause)
  }

  #end(reason: CloseReason): void {
    if (this.#hasEnded) return
    const isBetweenFrames = !this.#frames.isMidFrame
    this.#hasEnded = true
    this.#frames.end()
    this.#settle(reason)
    if (reason.kind === 'closed-by-us' && isBetweenFrames) {
      this.#ws.resume() // the peer's half of the closing handshake has to be read
      this.#ws.close(1000)
    } else {
      this.#ws.terminate()
    }
  }
}

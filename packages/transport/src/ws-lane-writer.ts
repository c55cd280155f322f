import { type Deferred, deferred, type Rank } from '@skein/core'
import { encodeHeader, type FrameHeader, headerBytes } from '@skein/wire'
import type { WebSocket } from 'ws'
import { type CloseReason, closedByPeer, closedByUs, closeReason, resetByPeer } from './close-reason.ts'
import { checkPayload, unexpectedData } from './lane-checks.ts'
import type { LaneWriter } from './lane.ts'
import { brokenWebSocket } from './web-sockets.ts'

/**
 * Largest WebSocket message of a lane. Payloads travel in pieces of it: the receiver holds no more than one, and refuses a
 * larger one by its length alone.
 */
export const wsPieceBytes = 256 * 1024

const plain = { binary: true, compress: false, fin: true } as const

/** The bytes of a raw lane in WebSocket messages. The server sends, so nothing is masked, and `ws` writes payloads uncopied. */
export class WsLaneWriter implements LaneWriter {
  readonly peer: Rank
  readonly closed: Promise<CloseReason>
  bytesSent = 0
  readonly #ws: WebSocket
  readonly #name: string
  readonly #closed: Deferred<CloseReason> = deferred()
  #unflushed = 0
  #reason: CloseReason | undefined

  /** Takes over `ws`, which is open. */
  constructor(ws: WebSocket, peer: Rank) {
    this.peer = peer
    this.closed = this.#closed.promise
    this.#ws = ws
    this.#name = `the lane to rank ${peer}`
    let cause: unknown
    ws.on('error', error => {
      cause = error
      const broken = brokenWebSocket(this.#name, error)
      if (broken !== undefined) this.#end(closeReason('protocol-error', broken))
    })
    ws.on('close', code => {
      const isOrderly = code === 1000 && this.#unflushed === 0
      this.#end(isOrderly ? closedByPeer(this.#name) : this.#broken(cause))
    })
    ws.on('message', () =>
      this.#end(closeReason('protocol-error', unexpectedData(this.#name, 'a message, where it only receives'))),
    )
  }

  send(header: FrameHeader, payload: Uint8Array): Promise<void> {
    checkPayload(header, payload)
    if (this.#reason !== undefined) return Promise.reject(this.#reason.error)
    const head = new Uint8Array(headerBytes)
    encodeHeader(new DataView(head.buffer), 0, header)
    this.bytesSent += headerBytes + payload.byteLength
    this.#unflushed++
    return new Promise<void>((resolve, reject) => {
      const flushed = (error?: Error | null) => {
        if (error) this.#end(this.#broken(error))
        this.#unflushed--
        if (this.#reason === undefined) resolve()
        else reject(this.#reason.error)
      }
      const ws = this.#ws
      if (payload.byteLength === 0) {
        ws.send(head, plain, flushed)
        return
      }
      ws.send(head, plain)
      for (let from = 0; from < payload.byteLength; from += wsPieceBytes) {
        const to = Math.min(from + wsPieceBytes, payload.byteLength)
        const piece = payload.subarray(from, to)
        if (to === payload.byteLength) ws.send(piece, plain, flushed)
        else ws.send(piece, plain)
      }
    })
  }

  close(): void {
    this.#end(closedByUs(this.#name))
  }

  #broken(cause: unknown): CloseReason {
    return resetByPeer(this.#name, this.#unflushed === 0 ? 'between frames' : 'in the middle of a frame', cause)
  }

  #end(reason: CloseReason): void {
    if (this.#reason !== undefined) return
    this.#reason = reason
    this.#closed.resolve(reason)
    // A payload that is still queued is no longer lent to us: then there is no time for a closing handshake.
    if (this.#unflushed === 0 && reason.kind === 'closed-by-us') this.#ws.close(1000)
    else this.#ws.terminate()
  }
}

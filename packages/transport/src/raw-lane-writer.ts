import type { Socket } from 'node:net'
import { type Deferred, deferred, type Rank } from '@skein/core'
import { encodeHeader, type FrameHeader, headerBytes } from '@skein/wire'
import { type CloseReason, closedByPeer, closedByUs, closeReason, resetByPeer } from './close-reason.ts'
import { checkPayload, unexpectedData } from './lane-checks.ts'
import type { LaneWriter } from './lane.ts'

/** Frames on the bare socket of an upgraded request. Former hop: the collective's outgoing lane; next: the operating system. */
export class RawLaneWriter implements LaneWriter {
  readonly peer: Rank
  readonly closed: Promise<CloseReason>
  bytesSent = 0
  readonly #socket: Socket
  readonly #name: string
  readonly #closed: Deferred<CloseReason> = deferred()
  /** Header buffers that no write borrows. */
  readonly #headers: DataView[] = []
  #unflushed = 0
  #reason: CloseReason | undefined

  /** Takes over `socket`; its request was answered with 101. */
  constructor(socket: Socket, peer: Rank) {
    this.peer = peer
    this.closed = this.#closed.promise
    this.#socket = socket
    this.#name = `the lane to rank ${peer}`
    let cause: unknown
    socket.on('error', error => {
      cause = error
    })
    socket.on('end', () => this.#end(this.#unflushed === 0 ? closedByPeer(this.#name) : this.#broken(cause)))
    socket.on('close', () => this.#end(this.#broken(cause)))
    socket.on('data', () =>
      this.#end(closeReason('protocol-error', unexpectedData(this.#name, 'bytes, where it only receives'))),
    )
  }

  send(header: FrameHeader, payload: Uint8Array): Promise<void> {
    checkPayload(header, payload)
    if (this.#reason !== undefined) return Promise.reject(this.#reason.error)
    const view = this.#headers.pop() ?? new DataView(new ArrayBuffer(headerBytes))
    encodeHeader(view, 0, header)
    this.bytesSent += headerBytes + payload.byteLength
    this.#unflushed++
    return new Promise<void>((resolve, reject) => {
      const flushed = (error?: Error | null) => {
        // At once, not with the socket's 'close': who sends again and again must not be kept from noticing.
        if (error) this.#end(this.#broken(error))
        this.#unflushed--
        this.#headers.push(view)
        // Node reports no error for a write that destroy() cancelled: only an open lane has flushed.
        if (this.#reason === undefined) resolve()
        else reject(this.#reason.error)
      }
      const head = new Uint8Array(view.buffer)
      const socket = this.#socket
      if (payload.byteLength === 0) {
        socket.write(head, flushed)
        return
      }
      socket.cork()
      socket.write(head)
      socket.write(payload, flushed)
      socket.uncork()
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
    this.#socket.destroy()
  }
}

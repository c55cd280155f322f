import { asSkeinError, type Clock, deferred, SkeinError, systemClock } from '@skein/core'
import type { CoordinatorMessage, Decoded, WorkerMessage } from '@skein/wire'
import type { WebSocket } from 'ws'
import { type CloseReason, closedByPeer, closedByUs, closeReason, resetByPeer } from './close-reason.ts'
import { TransportErrors } from './errors.ts'
import { unexpectedData } from './lane-checks.ts'
import { type HeartbeatOptions, Liveness } from './liveness.ts'
import { brokenWebSocket } from './web-sockets.ts'

/**
 * Messages in both directions between a worker and the coordinator; by default from the worker's side. Both sides ping, and both
 * notice silence.
 */
export interface ControlLink<Out = WorkerMessage, In = CoordinatorMessage> {
  /** Who is at the other end, for logs: "10.0.0.7:4321". */
  readonly remote: string
  /**
   * Sends one message after all earlier ones. Resolves when the operating system has it, rejects with `CloseReason.error` when the
   * link is or goes down; nobody has to listen to that. @throws SKEIN_WIRE_MESSAGE_INVALID, SKEIN_WIRE_MESSAGE_TOO_LARGE
   */
  send(message: Out): Promise<void>
  /** Begins the reading: every message goes to `handler`, in order. To be called once, soon: until then nothing is read. */
  onMessage(handler: (message: In) => void): void
  /** What was sent goes out, then the link closes; bounded by 2 s. Idempotent; returns `closed`. */
  close(reason?: string): Promise<CloseReason>
  /** Settles once, as soon as this side knows that the link is over. Never rejects. */
  readonly closed: Promise<CloseReason>
}

export interface ControlLimits {
  /** Default every 1 s, lost after 5 s. */
  readonly heartbeat?: HeartbeatOptions
  /** Largest message in either direction; default 4 MiB. */
  readonly maxMessageBytes?: number
  /** Sent but not taken by the peer; more ends the link. Default 16 MiB. */
  readonly maxBufferedBytes?: number
  readonly clock?: Clock
}

export const defaultHeartbeat: HeartbeatOptions = { intervalMs: 1_000, deadAfterMs: 5_000 }
export const defaultMaxBufferedBytes = 16 * 2 ** 20

export interface ControlCodec<Out, In> {
  encode(message: Out, maxBytes: number): Uint8Array
  decode(bytes: Uint8Array, maxBytes: number): Decoded<In>
}

/** WebSocket close codes: the peer is done; the peer broke the protocol. */
const normalClosure = 1000
const policyViolation = 1008
/** Bytes of a reason in a close frame. */
const maxReasonBytes = 123

/** The one implementation, for both sides. */
export class WsControlLink<Out, In> implements ControlLink<Out, In> {
  readonly remote: string
  readonly closed: Promise<CloseReason>
  readonly #ws: WebSocket
  readonly #codec: ControlCodec<Out, In>
  readonly #maxMessageBytes: number
  readonly #maxBufferedBytes: number
  readonly #clock: Clock
  readonly #liveness: Liveness
  readonly #heartbeat: ReturnType<typeof setInterval>
  readonly #closed = deferred<CloseReason>()
  #handler: ((message: In) => void) | undefined
  #reason: CloseReason | undefined
  #isClosing = false

  /** Takes over `ws`, which is open, in the turn in which it opened. */
  constructor(
    ws: WebSocket,
    remote: string,
    codec: ControlCodec<Out, In>,
    limits: ControlLimits & { maxMessageBytes: number },
  ) {
    const heartbeat = limits.heartbeat ?? defaultHeartbeat
    this.remote = remote
    this.closed = this.#closed.promise
    this.#ws = ws
    this.#codec = codec
    this.#maxMessageBytes = limits.maxMessageBytes
    this.#maxBufferedBytes = limits.maxBufferedBytes ?? defaultMaxBufferedBytes
    this.#clock = limits.clock ?? systemClock
    this.#liveness = new Liveness(heartbeat, this.#clock.now())
    this.#heartbeat = setInterval(() => this.#beat(), heartbeat.intervalMs)
    ws.pause()
    const heard = () => this.#liveness.heard(this.#clock.now())
    let cause: unknown
    ws.on('error', error => {
      cause = error
      const broken = brokenWebSocket(this.#name, error)
      if (broken !== undefined) this.#end(closeReason('protocol-error', broken))
    })
    ws.on('ping', heard)
    ws.on('pong', heard)
    ws.on('message', (data, isBinary) => {
      heard()
      this.#take(data as Buffer, isBinary)
    })
    ws.on('close', (code, reason) => this.#end(this.#reasonOf(code, reason.toString('utf8'), cause)))
  }

  send(message: Out): Promise<void> {
    const bytes = this.#codec.encode(message, this.#maxMessageBytes)
    const sent = this.#send(bytes)
    // Whoever wants to know that the link is gone has `closed`.
    sent.catch(() => undefined)
    return sent
  }

  onMessage(handler: (message: In) => void): void {
    this.#handler = handler
    this.#ws.resume()
  }

  close(reason?: string): Promise<CloseReason> {
    if (!this.#isClosing && this.#reason === undefined) {
      this.#isClosing = true
      this.#ws.resume() // the peer's half of the closing handshake has to be read
      this.#ws.close(normalClosure, cutReason(reason ?? ''))
    }
    return this.closed
  }

  #send(bytes: Uint8Array): Promise<void> {
    if (this.#reason !== undefined) return Promise.reject(this.#reason.error)
    if (this.#isClosing) return Promise.reject(closedByUs(this.#name).error)
    const waitingBytes = this.#ws.bufferedAmount
    if (waitingBytes + bytes.byteLength > this.#maxBufferedBytes) {
      const error = peerSlow(this.#name, waitingBytes, this.#maxBufferedBytes)
      this.#end(closeReason('protocol-error', error))
      return Promise.reject(error)
    }
    return new Promise<void>((resolve, reject) => {
      this.#ws.send(bytes, { binary: true }, error => {
        if (!error && this.#reason === undefined) resolve()
        else reject((this.#reason ?? resetByPeer(this.#name, 'while sending', error)).error)
      })
    })
  }

  #take(data: Buffer, isBinary: boolean): void {
    if (this.#isClosing || this.#reason !== undefined) return
    const decoded: Decoded<In> = isBinary
      ? this.#codec.decode(data, this.#maxMessageBytes)
      : { ok: false, error: unexpectedData(this.#name, 'text') }
    if (!decoded.ok) {
      this.#refuse(decoded.error)
      return
    }
    try {
      this.#handler?.(decoded.message)
    } catch (thrown) {
      this.#refuse(asSkeinError(thrown))
    }
  }

  /** Tells the peer what it did, then cuts the link. */
  #refuse(error: SkeinError): void {
    this.#ws.close(policyViolation, cutReason(`${error.code}: ${error.what}`))
    this.#end(closeReason('protocol-error', error))
  }

  #beat(): void {
    const silentMs = this.#liveness.tick(this.#clock.now())
    if (silentMs === undefined) {
      this.#ws.ping()
      return
    }
    this.#end(
      closeReason(
        'heartbeat-lost',
        new SkeinError(TransportErrors.HEARTBEAT_LOST, {
          what: `nothing was heard on ${this.#name} for ${Math.round(silentMs)} ms`,
          why: 'the process there hangs or is stopped, its machine is gone, or the network between is cut',
          todo: 'look whether that process still runs, and whether the two machines reach each other',
          details: { silentMs },
        }),
      ),
    )
  }

  #reasonOf(code: number, text: string, cause: unknown): CloseReason {
    if (this.#isClosing) return closedByUs(this.#name)
    if (code === 1005 || code === 1006) return resetByPeer(this.#name, 'without a word', cause)
    return closedByPeer(this.#name, text === '' ? `code ${code}` : text)
  }

  #end(reason: CloseReason): void {
    if (this.#reason !== undefined) return
    this.#reason = reason
    clearInterval(this.#heartbeat)
    this.#closed.resolve(reason)
    // A socket that is closing in good order has its own deadline; the others have nothing left to say.
    if (reason.kind === 'heartbeat-lost' || reason.error.code === TransportErrors.PEER_SLOW.code) this.#ws.terminate()
  }

  get #name(): string {
    return `the control link with ${this.remote}`
  }
}

/** As much of the text as a close frame holds. */
function cutReason(text: string): string {
  const bytes = Buffer.from(text)
  return bytes.length <= maxReasonBytes
    ? text
    : bytes
        .subarray(0, maxReasonBytes - 3)
        .toString('utf8')
        .replaceAll('\ufffd', '')
}

function peerSlow(name: string, waitingBytes: number, maxBytes: number): SkeinError {
  return new SkeinError(TransportErrors.PEER_SLOW, {
    what: `${waitingBytes} B wait to be read on ${name}; at most ${maxBytes} B may`,
    why: 'the process there hangs or is stopped',
    todo: 'look at that process and the end of its log; the link is closed',
    details: { waitingBytes, maxBytes },
  })
}

import type { Tap } from '@skein/shaper'
import { decodeHeader, type FrameHeader, headerBytes } from '@skein/wire'

/** A frame that a worker sends, counted from now: of its `op`-th collective that has not begun (0: the next), frame `chunk` of it to a peer. */
export interface FramePlace {
  readonly op?: number
  /** Default: the first one that comes by. */
  readonly chunk?: number
}

/** The frame that was waited for. What is done to it has to be done in the same call. */
export interface FrameHit {
  readonly header: FrameHeader
  /** Neither it nor anything behind it arrives, until the link is healed. */
  stop(): void
  /** A bit of its payload, or of its header where it has none, arrives flipped. */
  corrupt(): void
}

interface Armed extends FramePlace {
  /** The last collective that had begun; in any other generation all count. */
  readonly generation: number
  readonly lastOpSeq: number
  readonly act: (hit: FrameHit) => void
}

/** Far more than any frame has. */
const limits = { maxPayloadBytes: 2 ** 31 }

/** Reads along what one worker sends on its raw lanes, to do something to it at a frame of one's choice. */
export class FrameWatch {
  readonly #armed = new Set<Armed>()
  #generation = 0
  #lastOpSeq = -1

  /** Calls `act` once, at the frame; returns what disarms it. */
  arm(place: FramePlace, act: (hit: FrameHit) => void): () => void {
    const armed: Armed = { ...place, act, generation: this.#generation, lastOpSeq: this.#lastOpSeq }
    this.#armed.add(armed)
    return () => this.#armed.delete(armed)
  }

  /** For one direction of one connection; it stays out of those that carry requests instead of frames. */
  tap(): Tap {
    const lane = new LaneBytes()
    return (bytes, at, pipe) => {
      lane.read(bytes, at, (header, headerAt) => this.#saw(header, headerAt, lane, pipe))
      lane.flip(bytes, at)
    }
  }

  #saw(header: FrameHeader, headerAt: number, lane: LaneBytes, pipe: Parameters<Tap>[2]): void {
    if (header.kind !== 'data') return
    if (header.generation !== this.#generation) this.#lastOpSeq = -1
    this.#generation = header.generation
    this.#lastOpSeq = Math.max(this.#lastOpSeq, header.opSeq)
    for (const armed of this.#armed) {
      const begun = armed.generation === header.generation ? armed.lastOpSeq : -1
      if (header.opSeq !== begun + 1 + (armed.op ?? 0) && !(armed.op === undefined && header.opSeq > begun)) continue
      if (armed.chunk !== undefined && armed.chunk !== header.chunk) continue
      this.#armed.delete(armed)
      armed.act({
        header,
        stop: () => pipe.stall(headerAt),
        corrupt: () => {
          lane.flipAt = header.payloadBytes > 0 ? headerAt + headerBytes : headerAt + headerBytes - 1
        },
      })
    }
  }
}

const endOfHead = Buffer.from('\r\n\r\n')

/** Finds the frames of one direction of a connection: the answer to the upgrade, then headers and payloads. */
class LaneBytes {
  /** Of the direction: this byte is to be flipped when it comes. */
  flipAt = -1
  #head: Buffer | undefined = Buffer.alloc(0)
  readonly #header = Buffer.alloc(headerBytes)
  #headerFilled = 0
  #payloadLeft = 0
  #isForeign = false

  read(bytes: Buffer, at: number, onHeader: (header: FrameHeader, headerAt: number) => void): void {
    let next = this.#head === undefined ? 0 : this.#skipHead(bytes, this.#head)
    while (next < bytes.length && !this.#isForeign) {
      if (this.#payloadLeft > 0) {
        const taken = Math.min(this.#payloadLeft, bytes.length - next)
        this.#payloadLeft -= taken
        next += taken
        continue
      }
      const taken = bytes.copy(this.#header, this.#headerFilled, next)
      this.#headerFilled += taken
      next += taken
      if (this.#headerFilled < headerBytes) return
      this.#headerFilled = 0
      const { buffer, byteOffset } = this.#header
      const decoded = decodeHeader(new DataView(buffer, byteOffset, headerBytes), 0, limits)
      if (!decoded.ok) this.#isForeign = true
      else {
        this.#payloadLeft = decoded.header.payloadBytes
        onHeader(decoded.header, at + next - headerBytes)
      }
    }
  }

  flip(bytes: Buffer, at: number): void {
    const index = this.flipAt - at
    if (this.flipAt < 0 || index < 0 || index >= bytes.length) return
    bytes.writeUInt8(bytes.readUInt8(index) ^ 1, index)
    this.flipAt = -1
  }

  /** Where frames begin in `bytes`; its length where they do not yet. */
  #skipHead(bytes: Buffer, before: Buffer): number {
    const head = Buffer.concat([before, bytes])
    const end = head.indexOf(endOfHead)
    if (end < 0) {
      this.#head = head
      return bytes.length
    }
    this.#head = undefined
    if (!head.toString('latin1', 0, end).startsWith('HTTP/1.1 101')) this.#isForeign = true
    return end + endOfHead.length - before.length
  }
}

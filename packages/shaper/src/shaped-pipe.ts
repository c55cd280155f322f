import type { Socket } from 'node:net'
import { type Ms, type Random, systemClock } from '@skein/core'
import { badShape, LinkModel, type LinkShape } from './link-model.ts'

/** Where a direction of a connection goes wrong, in bytes from its beginning. */
export interface Faults {
  /** Nothing arrives from this byte on until `goOn`, and the connection stays open. */
  readonly stallAt?: number
  /** Both ends are reset in place of this byte. What the kernel has not delivered by then is lost with it, as on a real link. */
  readonly cutAt?: number
  /** One bit of this byte arrives flipped; which one is the seed's. */
  readonly corruptAt?: number
}

/** Sees bytes as they come, before they travel; may alter them. `at`: of their first one, from the beginning of the direction. */
export type Tap = (bytes: Buffer, at: number, pipe: ShapedPipe) => void

/**
 * One direction of a proxied connection: reads `from` while the model has room, writes to `to` when bytes are due. Holds at most
 * `maxHeldBytes` and one chunk of a socket (64 KiB), beside what is written and not flushed (one piece or 16 KiB). Owns its
 * timer; the sockets are the connection's. @throws SKEIN_SHAPER_BAD_SHAPE
 */
export class ShapedPipe {
  readonly #from: Socket
  readonly #to: Socket
  readonly #model: LinkModel
  readonly #onCut: () => void
  readonly #tap: Tap | undefined
  #corruptAt: number
  readonly #corruptBit: number
  #stallAt: number
  readonly #cutAt: number
  /** Those not delivered; of the first, bytes before `#firstUsed` are. */
  #chunks: Buffer[] = []
  #firstUsed = 0
  #readBytes = 0
  #arrivedBytes = 0
  /** Of those held, the ones that a stall or a slow receiver keeps from arriving. */
  #dueBytes = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #hasEnded = false
  #isDraining = false
  #isClosed = false

  constructor(from: Socket, to: Socket, shape: LinkShape & Faults, random: Random, onCut: () => void, tap?: Tap) {
    this.#from = from
    this.#to = to
    this.#model = new LinkModel(shape, random)
    this.#onCut = onCut
    this.#tap = tap
    const { stallAt, cutAt, corruptAt } = faultsOf(shape)
    this.#corruptAt = corruptAt
    this.#corruptBit = 1 << random.nextInt(8)
    this.#stallAt = stallAt
    this.#cutAt = cutAt
    from.on('data', chunk => this.#take(chunk as Buffer))
    from.on('end', () => {
      this.#hasEnded = true
      this.#deliver()
    })
    to.on('drain', () => {
      this.#isDraining = false
      this.#deliver()
    })
  }

  get heldBytes(): number {
    return this.#readBytes - this.#arrivedBytes
  }

  /** From now on, or from this byte on, nothing arrives, until `goOn`: not the end of the stream either. */
  stall(at = this.#arrivedBytes): void {
    this.#stallAt = Math.min(this.#stallAt, Math.max(at, this.#arrivedBytes))
  }

  /** Whether what comes next does not arrive. */
  get isStalled(): boolean {
    return this.#arrivedBytes >= this.#stallAt
  }

  /** What comes from now on takes a link of this shape. @throws SKEIN_SHAPER_BAD_SHAPE */
  reshape(shape: LinkShape): void {
    this.#model.reshape(shape)
  }

  /** Ends a stall, also one that is still ahead. */
  goOn(): void {
    this.#stallAt = Number.POSITIVE_INFINITY
    this.#deliver()
  }

  /** Nothing arrives any more, and what is held is dropped; idempotent. */
  close(): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
    this.#chunks = []
  }

  #take(chunk: Buffer): void {
    if (this.#isClosed) return
    const at = this.#corruptAt - this.#readBytes
    if (at >= 0 && at < chunk.length) {
      chunk.writeUInt8(chunk.readUInt8(at) ^ this.#corruptBit, at)
      this.#corruptAt = Number.POSITIVE_INFINITY
    }
    this.#tap?.(chunk, this.#readBytes, this)
    this.#readBytes += chunk.length
    this.#chunks.push(chunk)
    this.#model.offer(chunk.length, systemClock.now())
    this.#deliver()
  }

  /** Writes what is due, then waits for what is next: for a time, for the receiver, or for more to read. */
  #deliver(): void {
    if (this.#isClosed) return
    clearTimeout(this.#timer)
    const nowMs = systemClock.now()
    this.#dueBytes += this.#model.take(nowMs)
    while (!this.#isDraining) {
      const limit = Math.min(this.#dueBytes, Math.min(this.#stallAt, this.#cutAt) - this.#arrivedBytes)
      if (limit <= 0) break
      const part = this.#shift(limit)
      this.#dueBytes -= part.length
      this.#isDraining = !this.#to.write(part)
    }
    if (this.#arrivedBytes >= this.#cutAt) {
      this.#cut()
      return
    }
    if (this.#hasEnded && this.heldBytes === 0 && !this.isStalled) {
      this.close()
      this.#to.end()
      return
    }
    if (this.heldBytes < this.#model.maxHeldBytes) this.#from.resume()
    else this.#from.pause()
    const next = this.#model.nextDueMs
    if (next !== undefined && !this.#isDraining && !this.isStalled) this.#wait(next - nowMs)
  }

  /** Not before the kernel has what came before: a reset drops what is still in this process. */
  #cut(): void {
    this.close()
    this.#from.pause()
    this.#to.write(new Uint8Array(0), () => this.#onCut())
  }

  #wait(ms: Ms): void {
    this.#timer = setTimeout(() => this.#deliver(), Math.max(1, Math.ceil(ms)))
  }

  /** The next bytes that arrive, at most so many: no more than the present chunk has. */
  #shift(limit: number): Buffer {
    const first = this.#chunks[0] as Buffer
    const part = first.subarray(this.#firstUsed, this.#firstUsed + limit)
    this.#firstUsed += part.length
    if (this.#firstUsed === first.length) {
      this.#chunks.shift()
      this.#firstUsed = 0
    }
    this.#arrivedBytes += part.length
    return part
  }
}

/** Faults with every one filled in. @throws SKEIN_SHAPER_BAD_SHAPE */
export function faultsOf({ stallAt, cutAt, corruptAt }: Faults): Required<Faults> {
  return {
    stallAt: offsetOf('stallAt', stallAt),
    cutAt: offsetOf('cutAt', cutAt),
    corruptAt: offsetOf('corruptAt', corruptAt),
  }
}

function offsetOf(name: string, value = Number.POSITIVE_INFINITY): number {
  if (value === Number.POSITIVE_INFINITY || (Number.isSafeInteger(value) && value >= 0)) return value
  throw badShape(name, value, 'a whole number from 0 on')
}

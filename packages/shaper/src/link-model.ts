import { type Ms, type Random, SkeinError } from '@skein/core'
import { ShaperErrors } from './errors.ts'

/** One direction of a link. */
export interface LinkShape {
  /** Default: no limit. */
  readonly rateMbit?: number
  /** From the last byte sent to its arrival, in ms; default 0. */
  readonly delayMs?: number
  /** Up to so much more, in ms, evenly distributed; bytes never overtake each other. Default 0. */
  readonly jitterMs?: number
  /**
   * Bytes in the queue and under way above which the link wants no more: what a TCP window is to a real link. Default 1 MiB and what
   * fits into rate times delay; without a rate 16 MiB. Too small a value costs throughput: at most this much arrives in a delay.
   */
  readonly maxHeldBytes?: number
}

interface Piece {
  readonly bytes: number
  readonly dueMs: Ms
}

const MiB = 2 ** 20
/** A piece takes a link no longer than this of its rate, so that a stream flows instead of coming in heaps. */
const pieceMs = 1
const smallestPieceBytes = 1_500

/**
 * When bytes arrive that are handed to a link. Pure: it is told the time, which must not go back, and holds counts only. Bytes are sent
 * one after the other at the rate, then take delay and jitter; none is lost, because what runs over it is a stream.
 */
export class LinkModel {
  readonly #random: Random
  #maxHeldBytes = 0
  #bytesPerMs = 0
  #delayMs: Ms = 0
  #jitterMs: Ms = 0
  #pieceBytes = 0
  /** Those not delivered yet begin at `#next`. */
  #pieces: Piece[] = []
  #next = 0
  #heldBytes = 0
  /** When everything handed over so far has been sent. */
  #freeMs: Ms = 0
  #lastDueMs: Ms = 0

  /** @throws SKEIN_SHAPER_BAD_SHAPE */
  constructor(shape: LinkShape, random: Random) {
    this.#random = random
    this.reshape(shape)
  }

  /** What is handed over from now on takes a link of this shape; it still overtakes nothing. @throws SKEIN_SHAPER_BAD_SHAPE */
  reshape(shape: LinkShape): void {
    const { rateMbit = Number.POSITIVE_INFINITY, delayMs = 0, jitterMs = 0 } = shape
    const bytesPerMs = (rateMbit * 1e6) / 8 / 1e3
    const onTheWay = bytesPerMs === Number.POSITIVE_INFINITY ? 15 * MiB : bytesPerMs * (delayMs + jitterMs)
    const maxHeldBytes = shape.maxHeldBytes ?? MiB + onTheWay
    checkPositive('rateMbit', rateMbit)
    checkPositive('maxHeldBytes', maxHeldBytes)
    checkNotNegative('delayMs', delayMs)
    checkNotNegative('jitterMs', jitterMs)
    this.#maxHeldBytes = maxHeldBytes
    this.#bytesPerMs = bytesPerMs
    this.#delayMs = delayMs
    this.#jitterMs = jitterMs
    this.#pieceBytes = Math.max(smallestPieceBytes, Math.floor(bytesPerMs * pieceMs))
  }

  get maxHeldBytes(): number {
    return this.#maxHeldBytes
  }

  /** Bytes that were handed over and not taken yet. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  /** Whether to hand over more. What comes nevertheless is taken: the one who hands over stops after the chunk that filled it. */
  get hasRoom(): boolean {
    return this.#heldBytes < this.#maxHeldBytes
  }

  /** When `take` gives something next; undefined where nothing is held. */
  get nextDueMs(): Ms | undefined {
    return this.#pieces[this.#next]?.dueMs
  }

  /** Hands over bytes. */
  offer(bytes: number, nowMs: Ms): void {
    this.#freeMs = Math.max(this.#freeMs, nowMs)
    this.#heldBytes += bytes
    for (let left = bytes; left > 0; ) {
      const piece = Math.min(left, this.#pieceBytes)
      left -= piece
      this.#freeMs += piece / this.#bytesPerMs
      const jitterMs = this.#jitterMs === 0 ? 0 : this.#random.nextFloat() * this.#jitterMs
      this.#lastDueMs = Math.max(this.#lastDueMs, this.#freeMs + this.#delayMs + jitterMs)
      this.#pieces.push({ bytes: piece, dueMs: this.#lastDueMs })
    }
  }

  /** How many more bytes have arrived by now; they are held no longer. */
  take(nowMs: Ms): number {
    let taken = 0
    for (let piece = this.#pieces[this.#next]; piece !== undefined && piece.dueMs <= nowMs; ) {
      taken += piece.bytes
      piece = this.#pieces[++this.#next]
    }
    // Moved together when half of it is past: amortised, a step a piece.
    if (this.#next * 2 > this.#pieces.length) {
      this.#pieces = this.#pieces.slice(this.#next)
      this.#next = 0
    }
    this.#heldBytes -= taken
    return taken
  }
}

function checkPositive(name: string, value: number): void {
  if (!(value > 0)) throw badShape(name, value, 'a number above 0')
}

function checkNotNegative(name: string, value: number): void {
  if (!(value >= 0 && value < Number.POSITIVE_INFINITY)) throw badShape(name, value, 'a finite number from 0 on')
}

export function badShape(name: string, value: number, wanted: string): SkeinError {
  return new SkeinError(ShaperErrors.BAD_SHAPE, {
    what: `${name} of a shaped link is ${value}`,
    todo: `give ${wanted}`,
    details: { [name]: value },
  })
}

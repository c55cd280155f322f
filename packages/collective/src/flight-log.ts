import type { Ms } from '@skein/core'
import type { Algorithm, OpKind } from './op-kind.ts'
import type { PeerTraffic } from './peer-traffic.ts'

/** One op as the flight log keeps it. */
export interface FlightEntry {
  /** Number of the collective in its group; for messages the number on its lane and direction. */
  readonly opSeq: number
  readonly kind: OpKind
  readonly algorithm: Algorithm
  readonly elems: number
  /** When this rank started it. */
  readonly enteredMs: Ms
  /** When the first frame of another rank arrived: before that, this rank was ahead of the others. */
  readonly firstArrivalMs: Ms | undefined
  readonly leftMs: Ms | undefined
  readonly bytesSent: number
  /** 'running', 'done', or the code of the error that ended it. */
  readonly outcome: string
  /** Index of the lanes it uses. */
  readonly channel: number
  /** Per peer: frames sent and received, and how long they took to come in. */
  readonly traffic: ReadonlyMap<number, Readonly<PeerTraffic>>
}

/** The last ops of a group, oldest first: who entered which op and when, for finding stragglers and stuck ranks. */
export class FlightLog<Entry> {
  readonly #size: number
  readonly #ring: Entry[] = []
  #next = 0

  constructor(size = 256) {
    this.#size = size
  }

  add(entry: Entry): void {
    this.#ring[this.#next] = entry
    this.#next = (this.#next + 1) % this.#size
  }

  entries(): readonly Entry[] {
    return [...this.#ring.slice(this.#next), ...this.#ring.slice(0, this.#next)]
  }
}

import { type Deferred, deferred, type WaitOptions, within } from '@skein/core'
import { closedByUs } from './close-reason.ts'
import type { LaneRequest } from './lane-request.ts'
import type { LaneWriter } from './lane.ts'
import type { Refusal } from './refusal.ts'

export interface LaneDoorOptions {
  readonly generation: number
  /** The rank of this side; dialers that look for another one are refused. */
  readonly rank: number
  readonly worldSize: number
  /** Opens the lanes of this generation only. */
  readonly token: string
}

/** The sending ends of one generation's lanes, one a peer, as the peers dial them. Owns them until it is closed. */
export class LaneDoor {
  readonly generation: number
  readonly rank: number
  readonly token: string
  readonly #worldSize: number
  readonly #onClose: () => void
  readonly #writers = new Map<number, LaneWriter>()
  readonly #awaited = new Map<number, Deferred<LaneWriter>>()
  #isClosed = false

  constructor(options: LaneDoorOptions, onClose: () => void) {
    this.generation = options.generation
    this.rank = options.rank
    this.token = options.token
    this.#worldSize = options.worldSize
    this.#onClose = onClose
  }

  /** The lane that `peer` dials or has dialled. @throws SKEIN_TIMEOUT, SKEIN_ABORTED, SKEIN_TRANSPORT_CLOSED */
  lane(peer: number, wait: Omit<WaitOptions, 'what'>): Promise<LaneWriter> {
    const writer = this.#writers.get(peer)
    if (writer !== undefined) return Promise.resolve(writer)
    if (this.#isClosed) return Promise.reject(closedByUs(this.#name).error)
    let awaited = this.#awaited.get(peer)
    if (awaited === undefined) {
      awaited = deferred<LaneWriter>()
      // The wait may have run out when the door closes.
      awaited.promise.catch(() => undefined)
      this.#awaited.set(peer, awaited)
    }
    return within(awaited.promise, {
      todo: `see the log of the worker that has rank ${peer}`,
      ...wait,
      what: `rank ${peer} to dial its lane from rank ${this.rank} in generation ${this.generation}`,
    })
  }

  /** Why this request, whose token is right, is refused; undefined if it is not. */
  refusalOf({ generation, from, to }: LaneRequest): Refusal | undefined {
    if (this.#isClosed) return { status: 409, why: `generation ${generation} is over here` }
    if (to !== this.rank)
      return { status: 409, why: `this is rank ${this.rank}, not ${to}: two workers have one address` }
    if (from >= this.#worldSize || from === this.rank)
      return { status: 409, why: `rank ${from} is no peer of rank ${to}` }
    if (this.#writers.has(from)) return { status: 409, why: `rank ${from} has this lane already` }
    return undefined
  }

  /** Takes a lane over. */
  add(writer: LaneWriter): void {
    if (this.#isClosed || this.#writers.has(writer.peer)) {
      writer.close()
      return
    }
    this.#writers.set(writer.peer, writer)
    this.#awaited.get(writer.peer)?.resolve(writer)
    this.#awaited.delete(writer.peer)
  }

  /** Closes the lanes of this generation and refuses its late dialers; idempotent. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    for (const writer of this.#writers.values()) writer.close()
    for (const awaited of this.#awaited.values()) awaited.reject(closedByUs(this.#name).error)
    this.#awaited.clear()
    this.#onClose()
  }

  get #name(): string {
    return `the door of generation ${this.generation}`
  }
}

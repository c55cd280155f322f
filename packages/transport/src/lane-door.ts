import { type Deferred, deferred, type WaitOptions, within } from '@skein/core'
import { closedByUs } from './close-reason.ts'
import { isSameProof, laneProof, type LaneProof } from './lane-proof.ts'
import type { LaneRequest } from './lane-request.ts'
import type { LaneWriter } from './lane.ts'
import type { Refusal } from './refusal.ts'

export interface LaneDoorOptions {
  readonly generation: number
  /** Default 0: the group of all members of the generation. */
  readonly group?: number
  /** The rank of this side; dialers that look for another one are refused. */
  readonly rank: number
  readonly worldSize: number
  /** Opens the lanes of this generation only. */
  readonly token: string
}

/** Dials that a rank may make in one generation, tried again or not: a bound of what is remembered of them. */
const maxDialsPerRank = 1024

/** The sending ends of the lanes of one group of a generation, one a peer and channel, as the peers dial them. Owns them until it is closed. */
export class LaneDoor {
  readonly generation: number
  readonly group: number
  readonly rank: number
  readonly #token: string
  readonly #worldSize: number
  readonly #onClose: () => void
  /** By peer and channel. */
  readonly #writers = new Map<string, LaneWriter>()
  readonly #awaited = new Map<string, Deferred<LaneWriter>>()
  /** Nonces of proofs that were right; only who knows the token adds to them. */
  readonly #spent = new Set<string>()
  #isClosed = false

  constructor(options: LaneDoorOptions, onClose: () => void) {
    this.generation = options.generation
    this.group = options.group ?? 0
    this.rank = options.rank
    this.#token = options.token
    this.#worldSize = options.worldSize
    this.#onClose = onClose
  }

  /** The lane that `peer` dials or has dialled. @throws SKEIN_TIMEOUT, SKEIN_ABORTED, SKEIN_TRANSPORT_CLOSED */
  lane(peer: number, wait: Omit<WaitOptions, 'what'>, channel = 0): Promise<LaneWriter> {
    const key = keyOf(peer, channel)
    const writer = this.#writers.get(key)
    if (writer !== undefined) return Promise.resolve(writer)
    if (this.#isClosed) return Promise.reject(closedByUs(this.#name).error)
    let awaited = this.#awaited.get(key)
    if (awaited === undefined) {
      awaited = deferred<LaneWriter>()
      // The wait may have run out when the door closes.
      awaited.promise.catch(() => undefined)
      this.#awaited.set(key, awaited)
    }
    return within(awaited.promise, {
      todo: `see the log of the worker that has rank ${peer}`,
      ...wait,
      what: `rank ${peer} to dial its lane from rank ${this.rank} in generation ${this.generation}`,
    })
  }

  /** Why this request is refused; undefined if it is not. A right proof is used up, whatever comes of it. */
  refusalOf(request: LaneRequest, shown: LaneProof): Refusal | undefined {
    return this.#unproven(request, shown) ?? this.#refusalOfMember(request)
  }

  /** What shows the dialer that this side knows the token. */
  answerTo(request: LaneRequest, { nonce }: LaneProof): string {
    return laneProof('answer', this.#token, request, nonce)
  }

  #unproven(request: LaneRequest, { nonce, proof }: LaneProof): Refusal | undefined {
    if (!isSameProof(proof, laneProof('ask', this.#token, request, nonce)))
      return { status: 401, reason: 'badToken', why: 'the lane token is wrong' }
    if (this.#spent.has(nonce)) return { status: 401, reason: 'replayed', why: 'this proof was used before' }
    if (this.#spent.size >= maxDialsPerRank * this.#worldSize)
      return { status: 503, reason: 'tooMany', why: 'too many lanes were dialled in this generation' }
    this.#spent.add(nonce)
    return undefined
  }

  #refusalOfMember({ generation, from, to, channel }: LaneRequest): Refusal | undefined {
    if (this.#isClosed) return { status: 409, reason: 'otherLane', why: `generation ${generation} is over here` }
    if (to !== this.rank)
      return {
        status: 409,
        reason: 'otherLane',
        why: `this is rank ${this.rank}, not ${to}: two workers have one address`,
      }
    if (from >= this.#worldSize || from === this.rank)
      return { status: 409, reason: 'otherLane', why: `rank ${from} is no peer of rank ${to}` }
    if (this.#writers.has(keyOf(from, channel)))
      return { status: 409, reason: 'otherLane', why: `rank ${from} has this lane already` }
    return undefined
  }

  /** Takes a lane over. */
  add(writer: LaneWriter, channel: number): void {
    const key = keyOf(writer.peer, channel)
    if (this.#isClosed || this.#writers.has(key)) {
      writer.close()
      return
    }
    this.#writers.set(key, writer)
    this.#awaited.get(key)?.resolve(writer)
    this.#awaited.delete(key)
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

const keyOf = (peer: number, channel: number) => `${peer} ${channel}`

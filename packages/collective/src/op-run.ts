import { type Deferred, deferred, type Ms } from '@skein/core'
import type { FlightEntry } from './flight-log.ts'
import { type Algorithm, encodeOpCode, type OpKind } from './op-kind.ts'
import type { Payload } from './payload.ts'
import { type PeerTraffic, trafficOf } from './peer-traffic.ts'
import type { RankProgram } from './rank-program.ts'
import type { TensorRegion } from './region.ts'

/** What an op cost on this rank, and what it found. */
export interface OpResult {
  readonly opSeq: number
  readonly kind: OpKind
  readonly algorithm: Algorithm
  readonly elems: number
  /** From the call to the end. */
  readonly durMs: Ms
  /** From the call to the first frame that arrived: how long this rank was ahead of the rank it hears from first. */
  readonly waitMs: Ms
  /** Payload bytes that this rank sent: the closed form of the algorithm. */
  readonly bytesSent: number
  /** With a codec: whether some rank's values held a NaN or an infinity; the same on all ranks of an all-reduce. */
  readonly nonfinite: boolean
  /** Of an all-to-all: elements that came from each rank, as they lie in the output. */
  readonly receivedCounts?: readonly number[]
}

export interface OpIdentity {
  readonly opSeq: number
  readonly kind: OpKind
  readonly algorithm: Algorithm
  /** Root, reduction and codec of a collective in one number, or the caller's tag of a message: has to agree. */
  readonly tag: number
  /** Elements of the whole op, the same on all ranks. */
  readonly elems: number
  /** Index of the lanes it uses. */
  readonly channel: number
}

/** Memory that an op uses until it is done. */
export interface Borrowed {
  readonly reads: readonly TensorRegion[]
  readonly writes: readonly TensorRegion[]
}

export interface OpParts extends Borrowed {
  readonly identity: OpIdentity
  readonly program: RankProgram
  /** Of the group's pool, from the start to the end of the op. */
  readonly scratchBytes: number
  /** Makes the payload when the scratch is there. */
  payloadAt(scratchOffset: number): Payload
  /** Runs before the first frame; when nothing but the rest of one frame is left to come; and after the last. */
  begin?(): void
  readonly arriving?: () => void
  end?(payload: Payload): void
}

/** One op under way: how far each entry of its program is. */
export class OpRun implements FlightEntry {
  readonly parts: OpParts
  readonly opCode: number
  /** Per op of the program: how many earlier ops it still waits for. */
  readonly pending: Int32Array
  /** Per receive: checksum of what arrived, for sends that pass it on. */
  readonly checksums: Uint32Array
  /** Per peer that it exchanges frames with. */
  readonly traffic: ReadonlyMap<number, PeerTraffic>
  readonly enteredMs: Ms
  firstArrivalMs: Ms | undefined
  leftMs: Ms | undefined
  bytesSent = 0
  outcome = 'running'
  scratchOffset = 0
  #payload: Payload | undefined
  #open: number
  readonly #settled: Deferred<OpResult> = deferred()

  constructor(parts: OpParts, enteredMs: Ms) {
    this.parts = parts
    this.opCode = encodeOpCode(parts.identity.kind, parts.identity.algorithm)
    this.pending = parts.program.waits.slice()
    this.checksums = new Uint32Array(parts.program.ops.length)
    this.traffic = trafficOf(parts.program)
    this.enteredMs = enteredMs
    this.#open = parts.program.ops.length
  }

  get opSeq(): number {
    return this.parts.identity.opSeq
  }

  get kind(): OpKind {
    return this.parts.identity.kind
  }

  get algorithm(): Algorithm {
    return this.parts.identity.algorithm
  }

  get tag(): number {
    return this.parts.identity.tag
  }

  get elems(): number {
    return this.parts.identity.elems
  }

  get channel(): number {
    return this.parts.identity.channel
  }

  get program(): RankProgram {
    return this.parts.program
  }

  /** While it runs: the flight log keeps runs long after their end, and what they were made of must go. */
  get payload(): Payload {
    return this.#payload as Payload
  }

  get promise(): Promise<OpResult> {
    return this.#settled.promise
  }

  /** Every receive has arrived, every local op is done and every send is flushed: nothing is borrowed any more. */
  get isComplete(): boolean {
    return this.#open === 0
  }

  /** The scratch is there: the op may touch memory. */
  begin(scratchOffset: number): void {
    this.scratchOffset = scratchOffset
    this.#payload = this.parts.payloadAt(scratchOffset)
    this.parts.begin?.()
  }

  /** Nothing is left but one op of the program. */
  get isAtLast(): boolean {
    return this.#open === 1
  }

  /** Takes one op off. The caller then looks after those it unlocks. */
  finish(): void {
    this.#open--
  }

  resolve(nowMs: Ms): void {
    const payload = this.payload
    this.parts.end?.(payload)
    this.leftMs = nowMs
    this.outcome = 'done'
    const waitMs = this.firstArrivalMs === undefined ? 0 : this.firstArrivalMs - this.enteredMs
    const { opSeq, kind, algorithm, elems, bytesSent } = this
    const durMs = nowMs - this.enteredMs
    this.#payload = undefined
    this.#settled.resolve({ opSeq, kind, algorithm, elems, durMs, waitMs, bytesSent, nonfinite: payload.nonfinite })
  }

  reject(error: Error & { readonly code: string }, nowMs: Ms): void {
    this.#payload = undefined
    this.leftMs = nowMs
    this.outcome = error.code
    this.#settled.reject(error)
  }

  /** "ring all-reduce #7 of 1000 elements", for messages. */
  describe(): string {
    const tag = this.kind === 'message' ? ` with tag ${this.tag}` : ''
    return `${this.algorithm} ${this.kind} #${this.opSeq} of ${this.elems} elements${tag}`
  }
}

/** The sends, or the receives, of one run on one lane, and how far they are. */
export interface Track {
  readonly run: OpRun
  readonly indexes: Int32Array
  next: number
}

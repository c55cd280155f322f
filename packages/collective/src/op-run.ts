import { type Deferred, deferred, type Ms } from '@skein/core'
import type { FlightEntry } from './flight-log.ts'
import { type Algorithm, encodeOpCode, type OpKind } from './op-kind.ts'
import type { RankProgram } from './rank-program.ts'
import type { TensorRegion } from './region.ts'

/** What an op cost on this rank. */
export interface OpResult {
  /** From the call to the end. */
  readonly durMs: Ms
  /** From the call to the first frame that arrived: how long this rank was ahead of the rank it hears from first. */
  readonly waitMs: Ms
  /** Payload bytes that this rank sent: the closed form of the algorithm. */
  readonly bytesSent: number
}

export interface OpIdentity {
  readonly opSeq: number
  readonly kind: OpKind
  readonly algorithm: Algorithm
  /** Root of a broadcast, or the caller's tag of a message: has to agree. */
  readonly tag: number
  readonly region: TensorRegion
}

/** One op under way: how far each entry of its program is. */
export class OpRun implements FlightEntry {
  readonly opSeq: number
  readonly kind: OpKind
  readonly algorithm: Algorithm
  readonly opCode: number
  readonly tag: number
  readonly region: TensorRegion
  readonly program: RankProgram
  /** Per op of the program: how many earlier ops it still waits for. */
  readonly pending: Int32Array
  /** Per receive: checksum of what arrived, for sends that pass it on. */
  readonly checksums: Uint32Array
  readonly enteredMs: Ms
  firstArrivalMs: Ms | undefined
  leftMs: Ms | undefined
  bytesSent = 0
  outcome = 'running'
  #open: number
  readonly #settled: Deferred<OpResult> = deferred()

  constructor(identity: OpIdentity, program: RankProgram, enteredMs: Ms) {
    this.opSeq = identity.opSeq
    this.kind = identity.kind
    this.algorithm = identity.algorithm
    this.opCode = encodeOpCode(identity.kind, identity.algorithm)
    this.tag = identity.tag
    this.region = identity.region
    this.program = program
    this.pending = program.waits.slice()
    this.checksums = new Uint32Array(program.ops.length)
    this.enteredMs = enteredMs
    this.#open = program.ops.length
  }

  get elems(): number {
    return this.region.elems
  }

  get promise(): Promise<OpResult> {
    return this.#settled.promise
  }

  /** Every receive has arrived and every send is flushed: nothing of the region is borrowed any more. */
  get isComplete(): boolean {
    return this.#open === 0
  }

  /** Takes one op off. The caller then looks after those it unlocks. */
  finish(): void {
    this.#open--
  }

  resolve(nowMs: Ms): void {
    this.leftMs = nowMs
    this.outcome = 'done'
    const waitMs = this.firstArrivalMs === undefined ? 0 : this.firstArrivalMs - this.enteredMs
    this.#settled.resolve({ durMs: nowMs - this.enteredMs, waitMs, bytesSent: this.bytesSent })
  }

  reject(error: Error & { readonly code: string }, nowMs: Ms): void {
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

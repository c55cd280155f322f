import { type ErrorCode, SkeinError } from '@skein/core'
import type { PlanOp } from '@skein/plan'
import type { FrameHeader } from '@skein/wire'
import { CollectiveErrors } from './errors.ts'
import { maxFarewellBytes } from './farewell.ts'
import type { CloseReason, LaneReader, LaneSink } from '@skein/transport'
import { describeOpCode, encodeOpCode } from './op-kind.ts'
import type { OpRun, Track } from './op-run.ts'

/** What an incoming lane needs from its group. */
export interface IncomingHost {
  readonly rank: number
  readonly generation: number
  readonly isOver: boolean
  /** Number of the next collective of this channel that will start here. */
  nextStart(channel: number): number
  /** Where the payload of this op goes: its place in the region, or this lane's scratch. */
  destination(run: OpRun, index: number, lane: IncomingLane): Uint8Array
  /** The payload is there: check, add, unlock. */
  arrived(run: OpRun, index: number, lane: IncomingLane, header: FrameHeader): void
  incomingFailed(peer: number, error: SkeinError): void
  /** The peer ends the group and says why. */
  farewell(peer: number, payload: Uint8Array): void
}

const messageCode = encodeOpCode('message', 'direct')

/**
 * The receives from one peer, in order: says of each frame where it goes, or that it has to wait until this rank has come that
 * far, or what is wrong with it. Former hop: the lane's socket.
 */
export class IncomingLane implements LaneSink {
  readonly peer: number
  readonly channel: number
  /** Byte offset of this lane's segment of scratch, where what is to be added arrives. */
  readonly scratchOffset: number
  /** Why the lane is gone, when the peer closed it in good order: a failure only for who still wants to use it. */
  ended: CloseReason | undefined
  readonly #host: IncomingHost
  readonly #queue: Track[] = []
  /** Messages that are waited for, in the order of the calls; matched by tag. */
  readonly #messages: Track[] = []
  #reader: LaneReader | undefined
  #isPaused = false
  #resumeWhenAttached = false
  #current: Track | undefined
  #farewell: Uint8Array | undefined

  constructor(peer: number, channel: number, scratchOffset: number, host: IncomingHost) {
    this.peer = peer
    this.channel = channel
    this.scratchOffset = scratchOffset
    this.#host = host
  }

  attach(reader: LaneReader): void {
    this.#reader = reader
    if (!this.#resumeWhenAttached) return
    this.#resumeWhenAttached = false
    reader.resume()
  }

  push(run: OpRun, indexes: Int32Array): void {
    ;(run.kind === 'message' ? this.#messages : this.#queue).push({ run, indexes, next: 0 })
  }

  /** Whether something is still to arrive. */
  get isBusy(): boolean {
    return this.#queue.length + this.#messages.length > 0
  }

  /** To be called when something may have changed that the lane waits for. */
  wake(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    if (this.#reader === undefined) this.#resumeWhenAttached = true
    else this.#reader.resume()
  }

  place(header: FrameHeader): Uint8Array | 'wait' {
    if (this.#host.isOver) return 'wait'
    const foreign = this.#foreign(header)
    if (foreign !== undefined) return foreign
    if (header.kind === 'abort') {
      this.#farewell = new Uint8Array(header.payloadBytes)
      return this.#farewell
    }
    const track = header.algorithm === messageCode ? this.#findMessage(header) : this.#findCollective(header)
    if (track === undefined) {
      this.#isPaused = true
      return 'wait'
    }
    const difference =
      track === 'unexpected' ? this.#describeUnexpected(header) : differenceOf(track, header, this.#host.rank)
    if (track === 'unexpected' || difference !== undefined) {
      return this.#refuse(CollectiveErrors.MISMATCH, difference ?? '', header)
    }
    const index = track.indexes[track.next] as number
    if (track.run.pending[index] !== 0) {
      const traffic = track.run.traffic.get(this.peer)
      if (traffic !== undefined) traffic.isParked = true
      this.#isPaused = true
      return 'wait'
    }
    this.#current = track
    return this.#host.destination(track.run, index, this)
  }

  received(header: FrameHeader): void {
    if (this.#farewell !== undefined) {
      this.#host.farewell(this.peer, this.#farewell)
      return
    }
    const track = this.#current
    if (track === undefined || this.#host.isOver) return
    this.#current = undefined
    const index = track.indexes[track.next] as number
    track.next++
    if (track.next === track.indexes.length) this.#drop(track)
    this.#host.arrived(track.run, index, this, header)
  }

  failed(error: SkeinError): void {
    this.#host.incomingFailed(this.peer, error)
  }

  close(): void {
    this.#queue.length = 0
    this.#messages.length = 0
    this.#current = undefined
    this.#reader?.close()
  }

  #drop(track: Track): void {
    const list = track.run.kind === 'message' ? this.#messages : this.#queue
    list.splice(list.indexOf(track), 1)
  }

  #refuse(row: ErrorCode, what: string, header: FrameHeader): 'wait' {
    this.#host.incomingFailed(
      this.peer,
      new SkeinError(row, {
        what: `rank ${this.peer} sent ${what}`,
        ...(row === CollectiveErrors.MISMATCH
          ? { why: 'the ranks do not issue the same collectives in the same order, or run different configurations' }
          : { why: 'it belongs to another membership, or to another version of Skein' }),
        todo: 'compare the job, versions and logs of the two workers; this generation ends',
        details: { peer: this.peer, opSeq: header.opSeq, chunk: header.chunk, generation: header.generation },
      }),
    )
    return 'wait'
  }

  /** Refuses what this generation's peer cannot have sent. */
  #foreign(header: FrameHeader): 'wait' | undefined {
    const { generation } = this.#host
    if (header.generation !== generation) {
      const what = `a frame of generation ${header.generation} in generation ${generation}`
      return this.#refuse(CollectiveErrors.STALE_GENERATION, what, header)
    }
    if (header.fromRank !== this.peer) {
      return this.#refuse(CollectiveErrors.MISMATCH, `a frame in the name of rank ${header.fromRank}`, header)
    }
    if (header.kind === 'data') return undefined
    if (header.kind === 'abort' && header.payloadBytes <= maxFarewellBytes) return undefined
    return this.#refuse(CollectiveErrors.BAD_FRAME, `a frame of kind ${header.kind} on a lane of data`, header)
  }

  /** The run that the frame has to belong to; nothing when this rank has not come that far. */
  #findCollective(header: FrameHeader): Track | 'unexpected' | undefined {
    const track = this.#queue[0]
    if (track !== undefined) return header.opSeq === track.run.opSeq ? track : 'unexpected'
    return header.opSeq >= this.#host.nextStart(this.channel) ? undefined : 'unexpected'
  }

  #findMessage(header: FrameHeader): Track | undefined {
    return this.#messages.find(track => track.run.tag === header.tag)
  }

  #describeUnexpected(header: FrameHeader): string {
    const expected = this.#queue[0]?.run.describe() ?? 'nothing more of it'
    return `${describeFrame(header)} where rank ${this.#host.rank} expects ${expected}`
  }
}

/** In which field a frame differs from what its run expects next, as text. */
function differenceOf(track: Track, header: FrameHeader, rank: number): string | undefined {
  const { run } = track
  const index = track.indexes[track.next] as number
  const op = run.program.ops[index] as PlanOp
  const chunk = run.program.chunks[index] as number
  const { bytes } = run.payload.stored(op.from, op.to)
  const count = run.payload.dtype === 'uint8' ? bytes : op.to - op.from
  const same =
    header.algorithm === run.opCode &&
    header.dtype === run.payload.dtype &&
    header.opElems === run.elems &&
    header.tag === run.tag &&
    header.chunk === chunk &&
    header.count === count &&
    header.payloadBytes === bytes
  if (same) return undefined
  return `${describeFrame(header)} where rank ${rank} expects chunk ${chunk} of ${count} elements of ${run.describe()}`
}

function describeFrame(header: FrameHeader): string {
  const what = `${describeOpCode(header.algorithm)} #${header.opSeq} of ${header.opElems} elements`
  return `chunk ${header.chunk} of ${header.count} elements (tag ${header.tag}, dtype ${header.dtype}) of ${what}`
}

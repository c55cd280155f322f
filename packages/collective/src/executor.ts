import { type Clock, SkeinError } from '@skein/core'
import type { PlanOp } from '@skein/plan'
import type { Region, Simd } from '@skein/simd'
import { type FrameHeader, WireErrors } from '@skein/wire'
import { CollectiveErrors } from './errors.ts'
import { type FlightEntry, FlightLog } from './flight-log.ts'
import { type IncomingHost, IncomingLane } from './incoming-lane.ts'
import type { LaneReader, LaneWriter } from '@skein/transport'
import type { OpResult, OpRun } from './op-run.ts'
import { type OutgoingHost, OutgoingLane } from './outgoing-lane.ts'

export interface ExecutorOptions {
  readonly rank: number
  readonly worldSize: number
  readonly generation: number
  readonly memory: WebAssembly.Memory
  readonly simd: Simd
  /** One segment per peer. */
  readonly scratch: Region
  readonly segmentBytes: number
  readonly clock: Clock
  /** Called once, when this rank itself notices that the group cannot go on. */
  onFailure(error: SkeinError, peer: number): void
}

/**
 * Runs the programs of many ops over the lanes of one group: the only executor of plans. Everything happens in the calls of lanes
 * and callers, one after another in one thread; the payloads stay where they are in the shared memory.
 *
 * Former hop of a tensor: group.ts. Next hop: transport's lane writer, or simd's add.
 */
export class Executor implements OutgoingHost, IncomingHost {
  readonly rank: number
  readonly generation: number
  /** Number of the next collective that will be issued here. */
  nextOpSeq = 0
  bytesSent = 0
  framesSent = 0
  readonly log = new FlightLog<OpRun>()
  readonly #options: ExecutorOptions
  readonly #bytes: Uint8Array
  readonly #outgoing = new Map<number, OutgoingLane>()
  readonly #incoming = new Map<number, IncomingLane>()
  readonly #running = new Set<OpRun>()
  /** Lanes to look at again before the present call returns. */
  readonly #toPump = new Set<number>()
  readonly #toWake = new Set<number>()
  #isSettling = false
  #hasReported = false
  #failure: SkeinError | undefined

  constructor(options: ExecutorOptions) {
    this.#options = options
    this.rank = options.rank
    this.generation = options.generation
    this.#bytes = new Uint8Array(options.memory.buffer)
    for (let peer = 0; peer < options.worldSize; peer++) {
      if (peer === options.rank) continue
      const segment = this.#incoming.size * options.segmentBytes
      this.#outgoing.set(peer, new OutgoingLane(peer, this))
      this.#incoming.set(peer, new IncomingLane(peer, options.scratch.byteOffset + segment, this))
    }
  }

  get isOver(): boolean {
    return this.#failure !== undefined
  }

  get failure(): SkeinError | undefined {
    return this.#failure
  }

  get running(): Iterable<OpRun> {
    return this.#running
  }

  incoming(peer: number): IncomingLane | undefined {
    return this.#incoming.get(peer)
  }

  flightLog(): readonly FlightEntry[] {
    return this.log.entries()
  }

  attachWriter(lane: OutgoingLane, writer: LaneWriter): void {
    lane.attach(writer)
    this.#watch(lane, writer, `to rank ${lane.peer}`)
    if (this.isOver) writer.close()
    this.#toPump.add(lane.peer)
    this.#settle()
  }

  attachReader(lane: IncomingLane, reader: LaneReader): void {
    lane.attach(reader)
    this.#watch(lane, reader, `from rank ${lane.peer}`)
    if (this.isOver) reader.close()
  }

  outgoing(peer: number): OutgoingLane | undefined {
    return this.#outgoing.get(peer)
  }

  /** Starts an op; its promise settles when nothing of its region is borrowed any more. */
  start(run: OpRun): Promise<OpResult> {
    this.log.add(run)
    if (this.#failure !== undefined) {
      run.reject(this.#failure, this.#options.clock.now())
      return run.promise
    }
    if (run.isComplete) {
      run.resolve(this.#options.clock.now())
      return run.promise
    }
    this.#running.add(run)
    for (const [peer, indexes] of run.program.sends) {
      this.#outgoing.get(peer)?.push(run, indexes)
      this.#toPump.add(peer)
    }
    for (const [peer, indexes] of run.program.receives) {
      this.#incoming.get(peer)?.push(run, indexes)
    }
    // A lane that waits for this op may be one the op does not receive from here: that mismatch has to be seen, too.
    for (const peer of this.#incoming.keys()) this.#toWake.add(peer)
    this.#checkLanes(run)
    this.#settle()
    return run.promise
  }

  /**
   * Ends the group: closes its lanes, then rejects every op under way, and every later one, with `error`. Idempotent: the first
   * error stays. Regions of ops under way hold garbage afterwards, and nothing writes them any more.
   */
  end(error: SkeinError): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    for (const lane of this.#incoming.values()) lane.close()
    for (const lane of this.#outgoing.values()) lane.close()
    const nowMs = this.#options.clock.now()
    for (const run of this.#running) run.reject(error, nowMs)
    this.#running.clear()
  }

  transmit(writer: LaneWriter, run: OpRun, index: number): Promise<void> {
    const { simd } = this.#options
    const { region, program } = run
    const op = program.ops[index] as PlanOp
    const byteOffset = region.byteOffset + op.from * 4
    const payloadBytes = (op.to - op.from) * 4
    const forwarded = program.forwards[index] as number
    const header: FrameHeader = {
      kind: 'data',
      dtype: region.dtype,
      flags: 0,
      generation: this.generation,
      opSeq: run.opSeq,
      fromRank: this.rank,
      algorithm: run.opCode,
      chunk: program.chunks[index] as number,
      count: op.to - op.from,
      payloadBytes,
      opElems: region.elems,
      tag: run.tag,
      payloadChecksum: forwarded < 0 ? simd.checksum(byteOffset, payloadBytes) : (run.checksums[forwarded] as number),
    }
    run.bytesSent += payloadBytes
    this.bytesSent += payloadBytes
    this.framesSent++
    return writer.send(header, this.#bytes.subarray(byteOffset, byteOffset + payloadBytes))
  }

  flushed(run: OpRun, index: number): void {
    if (this.isOver) return
    this.#toPump.add((run.program.ops[index] as PlanOp).peer)
    this.#finish(run, index)
    this.#settle()
  }

  destination(run: OpRun, index: number, lane: IncomingLane): Uint8Array {
    const op = run.program.ops[index] as PlanOp
    const at = op.op === 'recvReduce' ? lane.scratchOffset : run.region.byteOffset + op.from * 4
    return this.#bytes.subarray(at, at + (op.to - op.from) * 4)
  }

  arrived(run: OpRun, index: number, lane: IncomingLane, header: FrameHeader): void {
    const { simd, clock } = this.#options
    const op = run.program.ops[index] as PlanOp
    const elems = op.to - op.from
    const target = run.region.byteOffset + op.from * 4
    const at = op.op === 'recvReduce' ? lane.scratchOffset : target
    if (simd.checksum(at, elems * 4) !== header.payloadChecksum) {
      this.#fail(
        lane.peer,
        new SkeinError(CollectiveErrors.CORRUPT, {
          what: `chunk ${header.chunk} of ${run.describe()} from rank ${lane.peer} arrived with another checksum than it was sent with`,
          why: 'the network or the memory of one of the two machines altered it, or the sender wrote its buffer while it was sent',
          todo: 'the generation ends and the step is run again; if it comes back, test the machine of that rank',
          details: { peer: lane.peer, opSeq: run.opSeq, chunk: header.chunk },
        }),
      )
      return
    }
    run.firstArrivalMs ??= clock.now()
    run.checksums[index] = header.payloadChecksum
    if (op.op === 'recvReduce') simd.add(target, at, elems)
    this.#finish(run, index)
    this.#settle()
  }

  outgoingFailed(peer: number, error: SkeinError): void {
    this.#fail(peer, this.#lost(peer, `the lane to rank ${peer} failed: ${error.what}`, error))
  }

  incomingFailed(peer: number, error: SkeinError): void {
    if (error.code.startsWith('SKEIN_COLLECTIVE_')) {
      this.#fail(peer, error)
      return
    }
    const isStale = error.code === WireErrors.FRAME_GENERATION.code
    this.#fail(
      peer,
      new SkeinError(isStale ? CollectiveErrors.STALE_GENERATION : CollectiveErrors.BAD_FRAME, {
        what: `the lane from rank ${peer} failed during ${this.#describeRunning()}: ${error.what}`,
        ...(error.why === undefined ? {} : { why: error.why }),
        todo: error.todo,
        details: { peer, ...this.#oldest(), reason: error.code },
        cause: error,
      }),
    )
  }

  /**
   * A lane that breaks ends the group at once. One that the peer closed in good order does so when something is still to pass,
   * now or in a later op: at the end of a run one rank is the first to go, and the others need not mind.
   */
  #watch(lane: IncomingLane | OutgoingLane, end: LaneReader | LaneWriter, which: string): void {
    void end.closed.then(reason => {
      if (reason.kind === 'closed-by-peer' && !lane.isBusy) lane.ended = reason
      else this.#fail(lane.peer, this.#lost(lane.peer, `the lane ${which} closed: ${reason.what}`, reason.error))
    })
  }

  /** Fails the group when the op needs a lane that is gone. */
  #checkLanes(run: OpRun): void {
    const lanes = [
      ...[...run.program.sends.keys()].map(peer => this.#outgoing.get(peer)),
      ...[...run.program.receives.keys()].map(peer => this.#incoming.get(peer)),
    ]
    for (const lane of lanes) {
      if (lane?.ended === undefined) continue
      const { what, error } = lane.ended
      this.#fail(lane.peer, this.#lost(lane.peer, `the lane with rank ${lane.peer} is gone: ${what}`, error))
    }
  }

  #lost(peer: number, what: string, cause: SkeinError): SkeinError {
    return new SkeinError(CollectiveErrors.PEER_LOST, {
      what: `${what}, during ${this.#describeRunning()}`,
      why: `rank ${peer} died, was stopped, or the network between broke`,
      todo: "read that worker's log; a new generation goes on without it",
      details: { peer, ...this.#oldest(), reason: cause.code },
      cause,
    })
  }

  /** The op that has been under way longest. */
  #oldest(): { readonly opSeq?: number; readonly op?: string } {
    for (const run of this.#running) return { opSeq: run.opSeq, op: `${run.algorithm} ${run.kind}` }
    return {}
  }

  #describeRunning(): string {
    for (const run of this.#running) return run.describe()
    return 'a pause between collectives'
  }

  #fail(peer: number, error: SkeinError): void {
    if (this.isOver || this.#hasReported) return
    this.#hasReported = true
    // Told before the lanes close: so the cause is on its way before the neighbours notice its effect.
    this.#options.onFailure(error, peer)
    this.end(error)
  }

  #finish(run: OpRun, index: number): void {
    run.finish()
    const { ops, unlocks } = run.program
    for (const later of unlocks[index] as readonly number[]) {
      const left = (run.pending[later] as number) - 1
      run.pending[later] = left
      if (left > 0) continue
      const op = ops[later] as PlanOp
      if (op.op === 'send') this.#toPump.add(op.peer)
      else this.#toWake.add(op.peer)
    }
    if (!run.isComplete) return
    this.#running.delete(run)
    run.resolve(this.#options.clock.now())
  }

  /** Lets lanes go on. A lane may call back while it is let go on: then the outer call does the rest. */
  #settle(): void {
    if (this.#isSettling) return
    this.#isSettling = true
    while (this.#toPump.size + this.#toWake.size > 0 && !this.isOver) {
      for (const peer of this.#toPump) {
        this.#toPump.delete(peer)
        this.#outgoing.get(peer)?.pump()
      }
      for (const peer of this.#toWake) {
        this.#toWake.delete(peer)
        this.#incoming.get(peer)?.wake()
      }
    }
    this.#isSettling = false
  }
}

import { type Clock, SkeinError } from '@skein/core'
import { isTransfer, type PlanOp } from '@skein/plan'
import type { Region, Simd } from '@skein/simd'
import type { LaneReader, LaneWriter } from '@skein/transport'
import type { FrameHeader } from '@skein/wire'
import { decodeFarewell, encodeFarewell } from './farewell.ts'
import { type FlightEntry, FlightLog } from './flight-log.ts'
import { type IncomingHost, IncomingLane } from './incoming-lane.ts'
import { corruptError, laneError, lostError, needlessError } from './lane-errors.ts'
import type { OpResult, OpRun } from './op-run.ts'
import { type OutgoingHost, OutgoingLane } from './outgoing-lane.ts'
import { type ScratchPool, scratchPools } from './scratch-pool.ts'

export interface ExecutorOptions {
  readonly rank: number
  readonly worldSize: number
  readonly generation: number
  /** Lanes in each direction to each peer. */
  readonly numChannels: number
  readonly memory: WebAssembly.Memory
  readonly simd: Simd
  /** One segment per incoming lane, then a pool for the ops of each channel. */
  readonly scratch: Region
  readonly segmentBytes: number
  readonly clock: Clock
  /** Called once, when this rank itself notices that the group cannot go on. */
  onFailure(error: SkeinError, peer: number): void
}

/** Flag of a frame whose payload carries no checksum: it has not left the host. */
const withoutChecksum = 1

/** A place in the order of one channel's ops. */
export interface OpSlot {
  readonly channel: number
  run?: OpRun
}

/**
 * Runs the programs of many ops over the lanes of one group: the only executor of plans. Everything happens in the calls of lanes
 * and callers, one after another in one thread; the payloads stay where they are in the shared memory.
 *
 * Former hop of a tensor: group.ts. Next hop: transport's lane writer, or the payload's arithmetic.
 */
export class Executor implements OutgoingHost, IncomingHost {
  readonly rank: number
  readonly generation: number
  bytesSent = 0
  framesSent = 0
  readonly log = new FlightLog<OpRun>()
  /**
   * Per channel. Of one for all, an op could hold what another rank's op of the other channel waits for: only those of one channel begin in
   * the same order everywhere.
   */
  readonly pools: readonly ScratchPool[]
  readonly #options: ExecutorOptions
  readonly #bytes: Uint8Array
  /** Per channel and peer. */
  readonly #outgoing: readonly (readonly (OutgoingLane | undefined)[])[]
  readonly #incoming: readonly (readonly (IncomingLane | undefined)[])[]
  readonly #running = new Set<OpRun>()
  /** Per channel, in the order of the calls: ops that wait for scratch or are not made yet, and those behind them. */
  readonly #queues: readonly OpSlot[][]
  /** Per channel: number of the next collective that will start here. */
  readonly #nextStart: number[]
  /** Lanes to look at again, and local ops to run, before the present call returns. */
  readonly #toPump = new Set<OutgoingLane>()
  readonly #toWake = new Set<IncomingLane>()
  readonly #toDo: (readonly [OpRun, number])[] = []
  #isSettling = false
  #hasReported = false
  #failure: SkeinError | undefined

  constructor(options: ExecutorOptions) {
    const { rank, worldSize, numChannels, segmentBytes, scratch } = options
    this.#options = options
    this.rank = rank
    this.generation = options.generation
    this.#bytes = new Uint8Array(options.memory.buffer)
    let next = scratch.byteOffset
    const perLane = <Lane>(make: (peer: number, channel: number) => Lane) =>
      Array.from({ length: numChannels }, (_, channel) =>
        Array.from({ length: worldSize }, (__, peer) => (peer === rank ? undefined : make(peer, channel))),
      )
    this.#outgoing = perLane((peer, channel) => new OutgoingLane(peer, channel, this))
    this.#incoming = perLane((peer, channel) => {
      const lane = new IncomingLane(peer, channel, next, this)
      next += segmentBytes
      return lane
    })
    this.pools = scratchPools(next, scratch.byteOffset + scratch.bytes - next, numChannels)
    this.#queues = this.#outgoing.map(() => [])
    this.#nextStart = this.#outgoing.map(() => 0)
  }

  get isOver(): boolean {
    return this.#failure !== undefined
  }

  get failure(): SkeinError | undefined {
    return this.#failure
  }

  /** Ops under way, also those that wait for scratch. */
  get running(): Iterable<OpRun> {
    return this.#running
  }

  incoming(peer: number, channel: number): IncomingLane | undefined {
    return this.#incoming[channel]?.[peer]
  }

  outgoing(peer: number, channel: number): OutgoingLane | undefined {
    return this.#outgoing[channel]?.[peer]
  }

  nextStart(channel: number): number {
    return this.#nextStart[channel] as number
  }

  flightLog(): readonly FlightEntry[] {
    return this.log.entries()
  }

  attachWriter(lane: OutgoingLane, writer: LaneWriter): void {
    lane.attach(writer)
    this.#watch(lane, writer, `to rank ${lane.peer}`)
    if (this.isOver) writer.close()
    this.#toPump.add(lane)
    this.#settle()
  }

  attachReader(lane: IncomingLane, reader: LaneReader): void {
    lane.attach(reader)
    this.#watch(lane, reader, `from rank ${lane.peer}`)
    if (this.isOver) reader.close()
  }

  /** A place in the order of the channel's ops, for one that is made later; nothing behind it starts before it. */
  reserve(channel: number): OpSlot {
    const slot: OpSlot = { channel }
    this.#queues[channel]?.push(slot)
    return slot
  }

  /** Starts an op in its turn; its promise settles when nothing of its regions is borrowed any more. */
  start(run: OpRun, slot: OpSlot = this.reserve(run.channel)): Promise<OpResult> {
    this.log.add(run)
    if (this.#failure !== undefined) {
      run.reject(this.#failure, this.#options.clock.now())
      return run.promise
    }
    slot.run = run
    this.#running.add(run)
    this.#admit(run.channel)
    this.#settle()
    return run.promise
  }

  /**
   * Ends the group: closes its lanes, then rejects every op under way, and every later one, with `error`. Idempotent: the first
   * error stays. What ops under way write holds garbage afterwards, and nothing writes it any more. With `tells` the peers hear
   * the error on those lanes that are free for it.
   */
  end(error: SkeinError, tells = false): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    const farewell = tells ? encodeFarewell(error, this) : undefined
    for (const lane of this.#incoming.flat()) lane?.close()
    for (const lane of this.#outgoing.flat()) lane?.close(farewell)
    const nowMs = this.#options.clock.now()
    for (const run of this.#running) run.reject(error, nowMs)
    this.#running.clear()
  }

  transmit(writer: LaneWriter, run: OpRun, index: number, lane: OutgoingLane): Promise<void> {
    const { program, payload } = run
    const { from, to } = program.ops[index] as PlanOp
    const { byteOffset, bytes } = payload.stored(from, to)
    const forwarded = program.forwards[index] as number
    const header: FrameHeader = {
      kind: 'data',
      dtype: payload.dtype,
      flags: lane.hasChecksums ? 0 : withoutChecksum,
      generation: this.generation,
      opSeq: run.opSeq,
      fromRank: this.rank,
      algorithm: run.opCode,
      chunk: program.chunks[index] as number,
      count: payload.dtype === 'uint8' ? bytes : to - from,
      payloadBytes: bytes,
      opElems: run.elems,
      tag: run.tag,
      payloadChecksum: lane.hasChecksums ? this.#checksumOf(run, forwarded, byteOffset, bytes) : 0,
    }
    run.bytesSent += bytes
    this.bytesSent += bytes
    this.framesSent++
    return writer.send(header, this.#bytes.subarray(byteOffset, byteOffset + bytes))
  }

  /** What a receive has passed on unchanged was checked already. */
  #checksumOf(run: OpRun, forwarded: number, byteOffset: number, bytes: number): number {
    const known = forwarded < 0 ? undefined : run.checksums[forwarded]
    return known === undefined || known === 0 ? this.#options.simd.checksum(byteOffset, bytes) : known
  }

  flushed(run: OpRun, index: number, lane: OutgoingLane): void {
    if (this.isOver) return
    this.#toPump.add(lane)
    const traffic = run.traffic.get(lane.peer)
    if (traffic !== undefined) traffic.framesSent++
    this.#finish(run, index)
    this.#settle()
  }

  destination(run: OpRun, index: number, lane: IncomingLane): Uint8Array {
    const op = run.program.ops[index] as PlanOp
    const { byteOffset, bytes } = run.payload.stored(op.from, op.to)
    const at = op.op === 'recvReduce' ? lane.scratchOffset : byteOffset
    run.traffic.get(lane.peer)?.begin(this.#options.clock.now())
    if (run.isAtLast) run.parts.arriving?.()
    return this.#bytes.subarray(at, at + bytes)
  }

  arrived(run: OpRun, index: number, lane: IncomingLane, header: FrameHeader): void {
    const { simd, clock } = this.#options
    const { payload } = run
    const { op, from, to } = run.program.ops[index] as PlanOp
    const stored = payload.stored(from, to)
    const at = op === 'recvReduce' ? lane.scratchOffset : stored.byteOffset
    const isChecked = (header.flags & withoutChecksum) === 0
    if (isChecked && simd.checksum(at, stored.bytes) !== header.payloadChecksum) {
      this.fail(lane.peer, corruptError(lane.peer, run, header.chunk))
      return
    }
    const nowMs = clock.now()
    run.firstArrivalMs ??= nowMs
    run.traffic.get(lane.peer)?.end(stored.bytes, nowMs)
    run.checksums[index] = header.payloadChecksum
    if (op === 'recvReduce') payload.combine(from, to, at)
    else payload.store(from, to)
    this.#finish(run, index)
    this.#settle()
  }

  outgoingFailed(peer: number, error: SkeinError): void {
    this.fail(peer, lostError(peer, `the lane to rank ${peer} failed: ${error.what}`, error, this.#oldest))
  }

  incomingFailed(peer: number, error: SkeinError): void {
    this.fail(peer, laneError(peer, error, this.#oldest))
  }

  /** The peer said why it ends: that is the reason here, too. */
  farewell(peer: number, payload: Uint8Array): void {
    this.fail(peer, decodeFarewell(peer, payload))
  }

  /**
   * A lane that breaks ends the group at once. One that the peer closed in good order does so when something is still to pass,
   * now or in a later op: at the end of a run one rank is the first to go, and the others need not mind.
   */
  #watch(lane: IncomingLane | OutgoingLane, end: LaneReader | LaneWriter, which: string): void {
    void end.closed.then(reason => {
      if (reason.kind === 'closed-by-peer' && !lane.isBusy) lane.ended = reason
      else
        this.fail(
          lane.peer,
          lostError(lane.peer, `the lane ${which} closed: ${reason.what}`, reason.error, this.#oldest),
        )
    })
  }

  /** The op that has been under way longest. */
  get #oldest(): OpRun | undefined {
    for (const run of this.#running) return run
    return undefined
  }

  /** This rank itself notices that the group cannot go on: tells its owner and the peers, and ends it. */
  fail(peer: number, error: SkeinError): void {
    if (this.isOver || this.#hasReported) return
    this.#hasReported = true
    // Told before the lanes close: so the cause is on its way before the neighbours notice its effect.
    this.#options.onFailure(error, peer)
    this.end(error, true)
  }

  /** Begins the ops of a channel in the order of their calls, as far as there is scratch for them. */
  #admit(channel: number): void {
    const queue = this.#queues[channel] as OpSlot[]
    const pool = this.pools[channel] as ScratchPool
    for (let run = queue[0]?.run; run !== undefined && !this.isOver; run = queue[0]?.run) {
      const scratchOffset = pool.take(run.parts.scratchBytes)
      if (scratchOffset === undefined && run.parts.scratchBytes > 0) return
      queue.shift()
      run.begin(scratchOffset ?? 0)
      this.#begin(run)
    }
  }

  #begin(run: OpRun): void {
    const { channel, program } = run
    if (run.kind !== 'message') this.#nextStart[channel] = run.opSeq + 1
    if (run.isComplete) {
      this.#complete(run)
      return
    }
    for (const [peer, indexes] of program.sends) {
      const lane = this.outgoing(peer, channel) as OutgoingLane
      lane.push(run, indexes)
      this.#toPump.add(lane)
    }
    for (const [peer, indexes] of program.receives) this.incoming(peer, channel)?.push(run, indexes)
    // A lane that waits for this op may be one the op does not receive from here: that mismatch has to be seen, too.
    for (const lane of this.#incoming[channel] ?? []) if (lane !== undefined) this.#toWake.add(lane)
    for (const index of program.firstLocals) this.#toDo.push([run, index])
    this.#checkLanes(run)
  }

  /** Fails the group when the op needs a lane that is gone. */
  #checkLanes(run: OpRun): void {
    const lanes = [
      ...[...run.program.sends.keys()].map(peer => this.outgoing(peer, run.channel)),
      ...[...run.program.receives.keys()].map(peer => this.incoming(peer, run.channel)),
    ]
    for (const lane of lanes) {
      if (lane?.ended === undefined) continue
      this.fail(lane.peer, needlessError(lane.peer, lane.ended, run))
    }
  }

  #finish(run: OpRun, index: number): void {
    run.finish()
    const { ops, unlocks } = run.program
    for (const later of unlocks[index] as readonly number[]) {
      const left = (run.pending[later] as number) - 1
      run.pending[later] = left
      if (left > 0) continue
      const op = ops[later] as PlanOp
      if (!isTransfer(op)) this.#toDo.push([run, later])
      else if (op.op === 'send') this.#toPump.add(this.outgoing(op.peer, run.channel) as OutgoingLane)
      else this.#toWake.add(this.incoming(op.peer, run.channel) as IncomingLane)
    }
    if (run.isComplete) this.#complete(run)
  }

  #complete(run: OpRun): void {
    this.#running.delete(run)
    run.resolve(this.#options.clock.now())
    if (run.parts.scratchBytes === 0) return
    this.pools[run.channel]?.give(run.scratchOffset, run.parts.scratchBytes)
    this.#admit(run.channel)
  }

  /** A copy or an encoding whose turn has come. */
  #do(run: OpRun, index: number): void {
    const op = run.program.ops[index] as PlanOp
    if (op.op === 'encode') run.payload.encode(op.from, op.to)
    else if (op.op === 'copy') run.payload.copy(op.from, op.to, op.at)
    else if (op.op === 'reduce') run.payload.combineLocally(op.from, op.to, op.at)
    this.#finish(run, index)
  }

  /** Lets lanes and local ops go on. A lane may call back while it is let go on: then the outer call does the rest. */
  #settle(): void {
    if (this.#isSettling) return
    this.#isSettling = true
    while (this.#toDo.length + this.#toPump.size + this.#toWake.size > 0 && !this.isOver) {
      // One local op at a time, the first first: what it unlocks is on its way while the next is done.
      const next = this.#toDo.shift()
      if (next !== undefined) this.#do(...next)
      for (const lane of this.#toPump) {
        this.#toPump.delete(lane)
        lane.pump()
      }
      for (const lane of this.#toWake) {
        this.#toWake.delete(lane)
        lane.wake()
      }
    }
    this.#isSettling = false
  }
}

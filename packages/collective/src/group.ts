import { codecOf } from '@skein/codec'
import { type Clock, dtypeBytes, SkeinError, systemClock } from '@skein/core'
import {
  blockRange,
  disseminationBarrier,
  type LinkFigures,
  type PlanOp,
  type Prediction,
  segmentsOf,
} from '@skein/plan'
import type { Region, Simd } from '@skein/simd'
import type { LaneReader, LaneSink, LaneWriter } from '@skein/transport'
import type { FlightOp } from '@skein/wire'
import { type AllToAllGroup, equalAllToAll, variableAllToAll } from './all-to-all.ts'
import { AlgorithmChoice } from './algorithm-choice.ts'
import { checkGroup, wrongArgument } from './check-group.ts'
import { checkCodec, checkFree, checkRank } from './check-op.ts'
import type {
  AlgorithmOptions,
  AllReduceOptions,
  AllToAllOptions,
  Collectives,
  OpOptions,
  Priority,
  ReceiveOptions,
  ReduceOp,
  ReduceOptions,
} from './collectives.ts'
import { CollectiveErrors } from './errors.ts'
import { Executor, type OpSlot } from './executor.ts'
import type { FlightEntry } from './flight-log.ts'
import { flightReport } from './flight-report.ts'
import { MessageNumbers } from './message-numbers.ts'
import type { Algorithm } from './op-kind.ts'
import { OpMaker } from './op-maker.ts'
import { type OpParts, type OpResult, OpRun } from './op-run.ts'
import type { Combine, Payload } from './payload.ts'
import { planOf, type PlanRequest } from './plan-of.ts'
import { ProgramCache } from './rank-program.ts'
import { checkRegion, regionBytes, regionsOverlap, type TensorRegion } from './region.ts'
import { defaultSegmentBytes, type ScratchSizes } from './scratch-bytes.ts'

export interface GroupOptions extends Omit<ScratchSizes, 'poolBytes'> {
  readonly rank: number
  readonly worldSize: number
  /** Every frame carries it; frames of another one end the group. */
  readonly generation: number
  /** Where all regions lie. */
  readonly memory: WebAssembly.Memory
  readonly simd: Simd
  /** At least `scratchBytesFor(worldSize, …)`; the group's alone until it is closed. What is beyond the lanes' segments is the pool. */
  readonly scratch: Region
  /** What the links cost, for the choice of algorithms; the same on all ranks. See `measureLinks`. */
  readonly links?: LinkFigures
  /** Host of each rank. */
  readonly hosts?: readonly number[]
  readonly clock?: Clock
  /** Called once, when this rank itself notices that the group cannot go on (not after `abort` or `close`). */
  onFailure?(error: SkeinError, peer: number): void
}

export interface WriterOptions {
  /** As in `sink`. Default 0. */
  readonly channel?: number
  /** Whether payloads are checked against what was sent. To be left out only within a host, where nothing can alter them. Default true. */
  readonly checksums?: boolean
}

const channelOf: Readonly<Record<Priority, number>> = { normal: 0, urgent: 1 }
const reduceCodes: Readonly<Record<ReduceOp, number>> = { sum: 0, mean: 1, min: 2, max: 3 }
const nothing: TensorRegion = { byteOffset: 0, elems: 0, dtype: 'float32' }

/**
 * The ranks of one generation and the collectives among them, run in the thread that calls.
 *
 * Every handle rejects with the error that ended the group: SKEIN_COLLECTIVE_PEER_LOST, _MISMATCH, _STALE_GENERATION, _CORRUPT,
 * _BAD_FRAME, _CANCELLED, _CLOSED, or what `abort` was given. _BUSY and _ARGUMENT reject one call and leave the group as it is.
 */
export class Group implements Collectives {
  readonly rank: number
  readonly worldSize: number
  readonly generation: number
  readonly #options: GroupOptions
  readonly #clock: Clock
  readonly #ops: OpMaker
  readonly #choice: AlgorithmChoice
  readonly #executor: Executor
  readonly #programs: ProgramCache
  readonly #nextOpSeq = [0, 0]
  readonly #messageNumbers = new MessageNumbers()

  constructor(options: GroupOptions) {
    const { rank, worldSize, generation, memory, simd, scratch, clock = systemClock } = options
    const { segmentBytes = defaultSegmentBytes } = options
    checkGroup(options, segmentBytes)
    this.rank = rank
    this.worldSize = worldSize
    this.generation = generation
    this.#options = options
    this.#clock = clock
    this.#programs = new ProgramCache(rank)
    this.#executor = new Executor({
      rank,
      worldSize,
      generation,
      numChannels: options.urgent === true ? 2 : 1,
      memory,
      simd,
      scratch,
      segmentBytes,
      clock,
      onFailure: (error, peer) => options.onFailure?.(error, peer),
    })
    const poolBytes = this.#executor.pools[0]?.bytes ?? 0
    this.#ops = new OpMaker({ memory, poolBytes, takeOpSeq: channel => this.#takeOpSeq(channel) })
    this.#choice = new AlgorithmChoice({
      ranks: worldSize,
      hosts: options.hosts,
      segmentBytes,
      poolBytes,
      links: options.links,
    })
  }

  /** Lanes in each direction to each peer: the ordinary one, and one for urgent ops where the group has them. */
  get numChannels(): number {
    return this.#options.urgent === true ? 2 : 1
  }

  /** Where the lane of `channel` from `peer` delivers; to be given to the call that dials it. */
  sink(peer: number, channel = 0): LaneSink {
    return this.#known(this.#executor.incoming(peer, channel), peer)
  }

  /** The dialled lane from `reader.peer`; owned by the group from here, which closes it. */
  attachReader(reader: LaneReader, channel = 0): void {
    const lane = this.#known(this.#executor.incoming(reader.peer, channel), reader.peer)
    this.#executor.attachReader(lane, reader)
  }

  /** The lane to `writer.peer`; owned by the group from here, which closes it. Ops may be issued before. */
  attachWriter(writer: LaneWriter, { channel = 0, checksums = true }: WriterOptions = {}): void {
    const lane = this.#known(this.#executor.outgoing(writer.peer, channel), writer.peer)
    lane.hasChecksums = checksums
    this.#executor.attachWriter(lane, writer)
  }

  /** From here on algorithms are chosen by these figures, and rings go round in this order: to be set between the same ops on all ranks. */
  setLinks(links: LinkFigures, ringOrder?: readonly number[]): void {
    this.#choice.setLinks(links, ringOrder)
    this.#programs.clear()
  }

  /** All-reduces of about so many bytes go by this algorithm from here on: to be said between the same ops on all ranks. See `tuneAllReduce`. */
  prefer(bytes: number, algorithm: string): void {
    this.#choice.prefer(bytes, algorithm)
  }

  /** The algorithms for an all-reduce of so many bytes for which the pool is large enough, those that are predicted to be quickest first. */
  rankAllReduce(bytes: number): readonly Prediction[] {
    return this.#choice.rank('all-reduce', bytes)
  }

  get links(): LinkFigures {
    return this.#choice.links
  }

  async allReduce(region: TensorRegion, options: AllReduceOptions = {}): Promise<OpResult> {
    const { output, codec, residual } = options
    const target = output ?? region
    checkRegion(region, this.#memoryBytes)
    if (output !== undefined && (output.elems !== region.elems || output.dtype !== region.dtype)) {
      throw wrongArgument(
        `an all-reduce of ${region.elems} ${region.dtype} was to go to ${output.elems} ${output.dtype}`,
        {},
      )
    }
    if (codec !== undefined) checkCodec(codec, region, options, this.#memoryBytes)
    const copies = target.byteOffset !== region.byteOffset
    if (copies && regionsOverlap(region, target)) {
      throw wrongArgument('an all-reduce was given an output that overlaps its input', { output: target.byteOffset })
    }
    const result = await this.#inPlace('all-reduce', target, {
      ...options,
      scales: [0, region.elems],
      ...(copies ? { reads: [region] } : {}),
      begin: () => {
        if (copies) this.#ops.copy(region, target)
        // Where nothing of this rank's own is rounded, nothing writes it: what the op before left there would be fed back once more.
        if (residual !== undefined) this.#ops.clear(residual)
      },
    })
    if (codec === undefined || this.worldSize > 1) return result
    // One rank sends nothing, so no codec has seen its values.
    return { ...result, nonfinite: this.#options.simd.hasNonFinite(target.byteOffset, target.elems) }
  }

  async reduceScatter(region: TensorRegion, options: ReduceOptions = {}): Promise<OpResult> {
    const scales = blockRange(region.elems, this.worldSize, this.rank)
    return this.#inPlace('reduce-scatter', region, { ...options, scales })
  }

  async reduce(region: TensorRegion, root: number, options: ReduceOptions = {}): Promise<OpResult> {
    return this.#inPlace('reduce', region, { ...options, root, scales: [0, root === this.rank ? region.elems : 0] })
  }

  async allGather(region: TensorRegion, options: AlgorithmOptions = {}): Promise<OpResult> {
    return this.#inPlace('all-gather', region, options)
  }

  async gather(region: TensorRegion, root: number, options: AlgorithmOptions = {}): Promise<OpResult> {
    return this.#inPlace('gather', region, { ...options, root })
  }

  async scatter(region: TensorRegion, root: number, options: AlgorithmOptions = {}): Promise<OpResult> {
    return this.#inPlace('scatter', region, { ...options, root })
  }

  async broadcast(region: TensorRegion, root: number, options: AlgorithmOptions = {}): Promise<OpResult> {
    return this.#inPlace('broadcast', region, { ...options, root })
  }

  async barrier(options: OpOptions = {}): Promise<OpResult> {
    const channel = this.#channelOf(options)
    const program = this.#programs.get('barrier', () => disseminationBarrier({ ranks: this.worldSize }))
    return this.#start(
      this.#ops.inPlace({ kind: 'barrier', algorithm: 'dissemination', region: nothing, program, channel, tag: 0 }),
      options,
    )
  }

  async allToAll(input: TensorRegion, output: TensorRegion, options: AllToAllOptions = {}): Promise<OpResult> {
    const channel = this.#channelOf(options)
    const { counts } = options
    checkRegion(input, this.#memoryBytes)
    checkRegion(output, this.#memoryBytes)
    checkFree(this.#executor.running, [input], [output])
    if (input.dtype !== output.dtype || regionsOverlap(input, output)) {
      throw wrongArgument('an all-to-all was given an input and an output of different types, or that overlap', {})
    }
    const group = this.#forAllToAll
    return counts === undefined
      ? equalAllToAll(group, input, output, options, channel)
      : variableAllToAll(group, input, output, { ...options, counts }, channel)
  }

  async send(region: TensorRegion, peer: number, tag = 0, options: OpOptions = {}): Promise<OpResult> {
    return this.#message('send', region, peer, tag, options)
  }

  async recv(region: TensorRegion, peer: number, tag = 0, options: ReceiveOptions = {}): Promise<OpResult> {
    return this.#message('recv', region, peer, tag, options)
  }

  /** Ends the group on this rank: every op under way and every later one rejects with `error`; the lanes are closed. Idempotent. */
  abort(error: SkeinError): void {
    this.#executor.end(error)
  }

  /** Closes the lanes. What is still under way rejects with SKEIN_COLLECTIVE_CLOSED. Idempotent. */
  close(): void {
    this.#executor.end(
      new SkeinError(CollectiveErrors.CLOSED, {
        what: `the group of generation ${this.generation} is closed`,
        why: 'the run ended, or another generation began',
        todo: 'nothing, unless an op was still wanted: then await it before the close',
      }),
    )
  }

  /** The error that ended the group, if it has ended. */
  get failure(): SkeinError | undefined {
    return this.#executor.failure
  }

  /** Payload bytes sent since the group was made. */
  get bytesSent(): number {
    return this.#executor.bytesSent
  }

  get framesSent(): number {
    return this.#executor.framesSent
  }

  /** The last 256 ops, oldest first. */
  flightLog(): readonly FlightEntry[] {
    return this.#executor.flightLog()
  }

  /** The last collectives as plain data, for a control message: who waits for whom, and how fast each link is. */
  flightReport(): FlightOp[] {
    return flightReport(this.#executor.flightLog(), this.#clock.now())
  }

  get #memoryBytes(): number {
    return this.#options.memory.buffer.byteLength
  }

  get #forAllToAll(): AllToAllGroup {
    return {
      rank: this.rank,
      ranks: this.worldSize,
      hosts: this.#options.hosts,
      memory: this.#options.memory,
      executor: this.#executor,
      ops: this.#ops,
      choice: this.#choice,
      programs: this.#programs,
      takeOpSeq: channel => this.#takeOpSeq(channel),
      start: (parts, options, slot) => this.#start(parts, options, slot),
    }
  }

  #inPlace(
    kind: PlanRequest['kind'],
    region: TensorRegion,
    options: AllReduceOptions & {
      readonly root?: number
      readonly scales?: readonly [number, number]
      readonly reads?: readonly TensorRegion[]
      readonly begin?: () => void
    },
  ): Promise<OpResult> {
    const { op = 'sum', codec, root = 0, scales = [0, 0], residual } = options
    const channel = this.#channelOf(options)
    if (!(op in reduceCodes))
      throw wrongArgument(`a reduction ${op} was asked for`, { known: Object.keys(reduceCodes) })
    checkRegion(region, this.#memoryBytes)
    checkRank(root, this.worldSize, `root of a ${kind}`)
    if (op === 'mean' && region.dtype === 'int32') throw wrongArgument('a mean of int32 was asked for', { op })
    const reads = options.reads ?? []
    const writes = residual === undefined ? [region] : [region, residual]
    checkFree(this.#executor.running, reads, writes)
    const algorithm = options.algorithm ?? this.#choice.choose(kind, regionBytes(region), codec)
    const request: PlanRequest = {
      kind,
      algorithm,
      ranks: this.worldSize,
      elems: region.elems,
      segmentElems: this.#choice.segmentElems(region, codec),
      root,
      ...(codec === undefined ? {} : { codec }),
      ...(this.#options.hosts === undefined ? {} : { hosts: this.#options.hosts }),
      ...(this.#choice.ringOrder === undefined ? {} : { ringOrder: this.#choice.ringOrder }),
    }
    const key = `${kind} ${algorithm} ${region.elems} ${root} ${codec ?? dtypeBytes[region.dtype]}`
    const program = this.#programs.get(key, () => planOf(request))
    const tag = root | (reduceCodes[op] << 16) | ((codec === undefined ? 0 : codecOf(codec).id) << 20)
    const combine: Combine = op === 'mean' ? 'sum' : op
    const parts = this.#ops.inPlace({
      kind,
      algorithm: algorithm as Algorithm,
      region,
      program,
      channel,
      tag,
      combine,
      codec,
      residual,
    })
    const [from, to] = scales
    // A mean that fits has a sum that may not: beyond 65,504 float16 has no numbers.
    const scalesFirst = op === 'mean' && region.dtype === 'float16'
    const scalesLast = op === 'mean' && !scalesFirst && from < to
    const begin = () => {
      options.begin?.()
      if (scalesFirst) this.#ops.scale(region, 1 / this.worldSize)
    }
    const end = (payload: Payload) => payload.scale(from, to, 1 / this.worldSize)
    return this.#start({ ...parts, reads, writes, begin, ...(scalesLast ? { end } : {}) }, options)
  }

  #message(
    op: 'send' | 'recv',
    region: TensorRegion,
    peer: number,
    tag: number,
    options: ReceiveOptions,
  ): Promise<OpResult> {
    const channel = this.#channelOf(options)
    checkRank(peer, this.worldSize, `peer of a ${op}`)
    if (peer === this.rank || !Number.isInteger(tag) || tag < 0 || tag > 0xffff_ffff) {
      throw wrongArgument(`rank ${this.rank} was to ${op} a message with tag ${tag}, peer ${peer}`, { peer, tag })
    }
    checkRegion(region, this.#memoryBytes)
    const reads = op === 'send' ? [region] : []
    const writes = op === 'send' ? [] : [region]
    checkFree(this.#executor.running, reads, writes)
    const opSeq = this.#messageNumbers.take(op, channel, peer)
    const program = this.#programs.ofOps(`${op} ${peer} ${region.elems} ${dtypeBytes[region.dtype]}`, () => {
      const pieces =
        region.elems === 0 ? ([[0, 0]] as const) : segmentsOf([0, region.elems], this.#choice.segmentElems(region))
      return pieces.map(([from, to]): PlanOp => ({ op, peer, from, to }))
    })
    const parts = this.#ops.inPlace({ kind: 'message', algorithm: 'direct', region, program, channel, tag, opSeq })
    const { onArriving: arriving } = options
    return this.#start({ ...parts, reads, writes, ...(arriving === undefined ? {} : { arriving }) }, options)
  }

  #start(parts: OpParts, { signal }: OpOptions, slot?: OpSlot): Promise<OpResult> {
    const run = new OpRun(parts, this.#clock.now())
    if (signal === undefined) return this.#executor.start(run, slot)
    const cancel = () => this.#executor.end(this.#cancelled(run, signal), true)
    const settled = this.#executor.start(run, slot)
    if (signal.aborted) cancel()
    else signal.addEventListener('abort', cancel, { once: true })
    return settled.finally(() => signal.removeEventListener('abort', cancel))
  }

  #cancelled(run: OpRun, signal: AbortSignal): SkeinError {
    const cause: unknown = signal.reason
    return new SkeinError(CollectiveErrors.CANCELLED, {
      what: `rank ${this.rank} cancelled ${run.describe()}`,
      why: cause instanceof Error ? cause.message : 'its caller wanted it no more',
      todo: 'form a new group: this one has ended on every rank',
      details: { peer: this.rank, opSeq: run.opSeq, op: `${run.algorithm} ${run.kind}` },
      cause,
    })
  }

  #takeOpSeq(channel: number): number {
    const opSeq = this.#nextOpSeq[channel] as number
    this.#nextOpSeq[channel] = opSeq + 1
    return opSeq
  }

  #channelOf({ priority = 'normal' }: OpOptions): number {
    const channel = channelOf[priority]
    if (channel < this.numChannels) return channel
    throw wrongArgument(`an op of priority ${priority} was asked of a group without lanes for it`, { priority })
  }

  #known<Lane>(lane: Lane | undefined, peer: number): Lane {
    if (lane !== undefined) return lane
    throw wrongArgument(`rank ${this.rank} of ${this.worldSize} has no lane with rank ${peer}`, { peer })
  }
}

export function createGroup(options: GroupOptions): Group {
  return new Group(options)
}

import { type Clock, SkeinError, systemClock } from '@skein/core'
import {
  binomialBroadcast,
  type CollectivePlan,
  disseminationBarrier,
  type PlanOp,
  ringAllGather,
  ringAllReduce,
  ringReduceScatter,
  segmentsOf,
  starAllReduce,
  treeAllReduce,
} from '@skein/plan'
import type { Region, Simd } from '@skein/simd'
import {
  type AlgorithmLimits,
  type AllReduceAlgorithm,
  chooseAllReduce,
  defaultAlgorithmLimits,
} from './choose-algorithm.ts'
import { CollectiveErrors } from './errors.ts'
import { Executor } from './executor.ts'
import type { FlightEntry } from './flight-log.ts'
import type { LaneReader, LaneSink, LaneWriter } from '@skein/transport'
import type { Algorithm, OpKind } from './op-kind.ts'
import { type OpIdentity, type OpResult, OpRun } from './op-run.ts'
import { compileProgram, ProgramCache, type RankProgram } from './rank-program.ts'
import { checkRegion, regionBytes, regionsOverlap, type TensorRegion } from './region.ts'

export interface GroupOptions {
  readonly rank: number
  readonly worldSize: number
  /** Every frame carries it; frames of another one end the group. */
  readonly generation: number
  /** Where all regions lie. */
  readonly memory: WebAssembly.Memory
  readonly simd: Simd
  /** At least `scratchBytesFor(worldSize, segmentBytes)`; the group's alone until it is closed. */
  readonly scratch: Region
  /** Longest payload of a frame; a multiple of 64, the same on all ranks. Default 256 KiB. */
  readonly segmentBytes?: number
  /** When which all-reduce is used; the same on all ranks. */
  readonly limits?: AlgorithmLimits
  readonly clock?: Clock
  /** Called once, when this rank itself notices that the group cannot go on (not after `abort` or `close`). */
  onFailure?(error: SkeinError, peer: number): void
}

export const defaultSegmentBytes = 256 * 1024

/** Bytes of scratch a group needs, and all that it ever holds: one segment per incoming lane. */
export function scratchBytesFor(worldSize: number, segmentBytes = defaultSegmentBytes): number {
  return Math.max(0, worldSize - 1) * segmentBytes
}

/**
 * The ranks of one generation and the collectives among them, run in the thread that calls.
 *
 * Collectives work in place on float32 regions of the shared memory and are asynchronous: a call starts one and returns its handle,
 * several may be under way, they may end in any order. They have to be issued in the same order on every rank, and messages to
 * one peer in the order in which their partner expects them relative to those. A region is borrowed until its handle settles:
 * then every part has arrived and everything sent from it is flushed. After a rejection it holds garbage.
 *
 * Every handle rejects with the error that ended the group: SKEIN_COLLECTIVE_PEER_LOST, _MISMATCH, _STALE_GENERATION, _CORRUPT,
 * _BAD_FRAME, _CLOSED, or what `abort` was given. SKEIN_COLLECTIVE_BUSY and _ARGUMENT reject one call and leave the group as it is.
 */
export class Group {
  readonly rank: number
  readonly worldSize: number
  readonly generation: number
  readonly #memory: WebAssembly.Memory
  readonly #clock: Clock
  readonly #limits: AlgorithmLimits
  readonly #segmentElems: number
  readonly #executor: Executor
  readonly #programs: ProgramCache
  /** Per peer: number of the next message to it, and from it. */
  readonly #messagesTo = new Map<number, number>()
  readonly #messagesFrom = new Map<number, number>()

  constructor(options: GroupOptions) {
    const { rank, worldSize, generation, memory, simd, scratch, clock = systemClock } = options
    const { segmentBytes = defaultSegmentBytes, limits = defaultAlgorithmLimits } = options
    checkGroup(options, segmentBytes)
    this.rank = rank
    this.worldSize = worldSize
    this.generation = generation
    this.#memory = memory
    this.#clock = clock
    this.#limits = limits
    this.#segmentElems = segmentBytes / 4
    this.#programs = new ProgramCache(rank)
    const onFailure = (error: SkeinError, peer: number) => options.onFailure?.(error, peer)
    this.#executor = new Executor({
      rank,
      worldSize,
      generation,
      memory,
      simd,
      scratch,
      segmentBytes,
      clock,
      onFailure,
    })
  }

  /** Where the lane from `peer` delivers; to be given to the call that dials it. */
  sink(peer: number): LaneSink {
    return this.#known(this.#executor.incoming(peer), peer)
  }

  /** The dialled lane from `reader.peer`; owned by the group from here, which closes it. */
  attachReader(reader: LaneReader): void {
    this.#executor.attachReader(this.#known(this.#executor.incoming(reader.peer), reader.peer), reader)
  }

  /** The lane to `writer.peer`; owned by the group from here, which closes it. Ops may be issued before. */
  attachWriter(writer: LaneWriter): void {
    this.#executor.attachWriter(this.#known(this.#executor.outgoing(writer.peer), writer.peer), writer)
  }

  /**
   * Sums the region over all ranks. One rank finishes each element and the others copy it: the same bits everywhere. Ring: sends
   * 2(N-1)/N · elems per rank, error ≤ (N-1) u Σ|x|; tree: ⌈lg N⌉ u Σ|x|; star: two hops, (N-1) u Σ|x|.
   * @param options.algorithm left out: by size, see `AlgorithmLimits`
   */
  async allReduce(region: TensorRegion, options: { readonly algorithm?: AllReduceAlgorithm } = {}): Promise<OpResult> {
    const { elems } = region
    const algorithm = options.algorithm ?? chooseAllReduce(regionBytes(region), this.worldSize, this.#limits)
    const generate = { ring: ringAllReduce, tree: treeAllReduce, star: starAllReduce }[algorithm]
    return this.#collective('all-reduce', algorithm, region, 0, () => generate(this.#planOptions(elems)))
  }

  /** Sums block r of the region on rank r, blocks as in `blockRange`; the other blocks hold partial sums afterwards. Ring. */
  async reduceScatter(region: TensorRegion): Promise<OpResult> {
    return this.#collective('reduce-scatter', 'ring', region, 0, () =>
      ringReduceScatter(this.#planOptions(region.elems)),
    )
  }

  /** Copies rank b's block b to all, for every b; blocks as in `blockRange`. Ring. */
  async allGather(region: TensorRegion): Promise<OpResult> {
    return this.#collective('all-gather', 'ring', region, 0, () => ringAllGather(this.#planOptions(region.elems)))
  }

  /** Copies the region of rank `root` to all. Binomial tree. */
  async broadcast(region: TensorRegion, root: number): Promise<OpResult> {
    this.#checkRank(root, 'root of a broadcast')
    const plan = () => binomialBroadcast({ ...this.#planOptions(region.elems), root })
    return this.#collective('broadcast', 'tree', region, root, plan)
  }

  /** Settles when every rank has called it. Dissemination. */
  async barrier(): Promise<OpResult> {
    const nothing: TensorRegion = { byteOffset: 0, elems: 0, dtype: 'float32' }
    return this.#collective('barrier', 'dissemination', nothing, 0, () =>
      disseminationBarrier({ ranks: this.worldSize }),
    )
  }

  /** Sends the region to `peer`, which receives it with the same tag (uint32, default 0) and size. */
  async send(region: TensorRegion, peer: number, tag = 0): Promise<OpResult> {
    return this.#message('send', region, peer, tag)
  }

  /**
   * Receives from `peer` the next message of this tag. The lane waits, with everything behind it, until the message at its head
   * has its `recv`: so issue these in an order that agrees with the sender's.
   */
  async recv(region: TensorRegion, peer: number, tag = 0): Promise<OpResult> {
    return this.#message('recv', region, peer, tag)
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

  #planOptions(elems: number) {
    return { ranks: this.worldSize, elems, segmentElems: this.#segmentElems }
  }

  #collective(
    kind: OpKind,
    algorithm: Algorithm,
    region: TensorRegion,
    tag: number,
    plan: () => CollectivePlan,
  ): Promise<OpResult> {
    this.#checkFree(region, true)
    const program = this.#programs.get(`${kind} ${algorithm} ${region.elems} ${tag}`, plan)
    const opSeq = this.#executor.nextOpSeq++
    return this.#start({ opSeq, kind, algorithm, tag, region }, program)
  }

  #message(op: 'send' | 'recv', region: TensorRegion, peer: number, tag: number): Promise<OpResult> {
    this.#checkRank(peer, `peer of a ${op}`)
    if (peer === this.rank || !Number.isInteger(tag) || tag < 0 || tag > 0xffff_ffff) {
      throw wrongArgument(`rank ${this.rank} was to ${op} a message with tag ${tag}, peer ${peer}`, { peer, tag })
    }
    this.#checkFree(region, op === 'recv')
    const numbers = op === 'send' ? this.#messagesTo : this.#messagesFrom
    const opSeq = numbers.get(peer) ?? 0
    numbers.set(peer, opSeq + 1)
    const pieces = region.elems === 0 ? ([[0, 0]] as const) : segmentsOf([0, region.elems], this.#segmentElems)
    const ops = pieces.map(([from, to]): PlanOp => ({ op, peer, from, to }))
    return this.#start({ opSeq, kind: 'message', algorithm: 'direct', tag, region }, compileProgram(ops))
  }

  #start(identity: OpIdentity, program: RankProgram): Promise<OpResult> {
    return this.#executor.start(new OpRun(identity, program, this.#clock.now()))
  }

  /** Two ops under way may share memory only if both just send it. */
  #checkFree(region: TensorRegion, writes: boolean): void {
    checkRegion(region, this.#memory.buffer.byteLength)
    for (const run of this.#executor.running) {
      const bothSend = !writes && run.kind === 'message' && run.program.receives.size === 0
      if (bothSend || !regionsOverlap(region, run.region)) continue
      throw new SkeinError(CollectiveErrors.BUSY, {
        what: `${region.elems} elements at byte ${region.byteOffset} are still used by ${run.describe()}`,
        why: 'its handle has not settled',
        todo: 'await it before the next op on the same memory',
        details: { byteOffset: region.byteOffset, elems: region.elems, opSeq: run.opSeq },
      })
    }
  }

  #checkRank(rank: number, role: string): void {
    if (Number.isInteger(rank) && rank >= 0 && rank < this.worldSize) return
    throw wrongArgument(`rank ${rank} was named as ${role} in a group of ${this.worldSize}`, { rank })
  }

  #known<Lane>(lane: Lane | undefined, peer: number): Lane {
    if (lane !== undefined) return lane
    throw wrongArgument(`rank ${this.rank} of ${this.worldSize} has no lane with rank ${peer}`, { peer })
  }
}

export function createGroup(options: GroupOptions): Group {
  return new Group(options)
}

function checkGroup(options: GroupOptions, segmentBytes: number): void {
  const { rank, worldSize, scratch } = options
  if (!(Number.isInteger(worldSize) && worldSize >= 1 && Number.isInteger(rank) && rank >= 0 && rank < worldSize)) {
    throw wrongArgument(`a group was made for rank ${rank} of ${worldSize}`, { rank, worldSize })
  }
  if (!(Number.isInteger(segmentBytes) && segmentBytes >= 64 && segmentBytes % 64 === 0)) {
    throw wrongArgument(`a group was made with segments of ${segmentBytes} B, not a multiple of 64`, { segmentBytes })
  }
  const needed = scratchBytesFor(worldSize, segmentBytes)
  if (scratch.bytes < needed) {
    throw wrongArgument(`a group of ${worldSize} was given ${scratch.bytes} B of scratch and needs ${needed} B`, {
      needed,
    })
  }
}

function wrongArgument(what: string, details: Readonly<Record<string, unknown>>): SkeinError {
  return new SkeinError(CollectiveErrors.ARGUMENT, {
    what,
    why: 'the caller computed it wrongly',
    todo: 'correct the caller',
    details,
  })
}

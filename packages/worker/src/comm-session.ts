import os from 'node:os'
import { createGroup, type Group, type GroupAnswer, type GroupRequest, GroupServer } from '@skein/collective'
import { connectGroup, EagerLoop, eagerMs } from '@skein/collective/node'
import { asSkeinError, SkeinError, systemClock } from '@skein/core'
import { createSimd, formatHash, type Region, type Simd } from '@skein/simd'
import { createLogger, type Logger } from '@skein/telemetry'
import {
  attachLanes,
  type ControlLink,
  hostId,
  isSameHost,
  type LaneServer,
  type Listener,
  listen,
} from '@skein/transport'
import { type CoordinatorMessage, protocolVersion, type WorkerMessage } from '@skein/wire'
import { BusyTime } from './busy-time.ts'
import { joinCoordinator } from './join-coordinator.ts'
import type { CommStart, ToComm, ToDevice } from './thread-messages.ts'

type GenerationMessage = Extract<CoordinatorMessage, { type: 'generation' }>
type VoteRequest = Extract<ToComm, { type: 'vote' }>['report']

/**
 * The comm thread's work: the control link, the lanes, the group of the present generation, votes and heartbeats.
 *
 * Messages of the device thread arrive through `receive`, all answers leave through `post`. Whatever goes wrong is told to both
 * sides at once: the device thread gets `failed`, the coordinator hears which peer was lost.
 */
export class CommSession {
  readonly #start: CommStart
  readonly #post: (message: ToDevice) => void
  readonly #logger: Logger
  readonly #busy = new BusyTime(systemClock)
  readonly #closing = new AbortController()
  #listener: Listener | undefined
  #lanes: LaneServer | undefined
  #link: ControlLink | undefined
  #generation: GenerationMessage | undefined
  #group: Group | undefined
  #server: GroupServer | undefined
  #eager = new EagerLoop(0)
  #simd: Simd | undefined
  #bytesAtLastVote = 0
  #progress = 0
  #step = 0
  #heartbeat: ReturnType<typeof setInterval> | undefined
  #failed = false
  /** When the device thread last asked for something: since then it computes. */
  #askedMs = systemClock.now()

  constructor(start: CommStart, post: (message: ToDevice) => void) {
    this.#start = start
    this.#post = post
    this.#logger = createLogger({
      level: start.log.level,
      bindings: { workerId: start.workerId, incarnation: start.incarnation, pkg: 'worker.comm' },
      ...(start.log.file === undefined ? {} : { file: start.log.file }),
    })
  }

  /** Listens for lanes, then joins. */
  async open(): Promise<void> {
    const start = this.#start
    const ownHost = start.laneKind === 'raw' ? hostId() : undefined
    const listener = await listen({ host: start.listenHost, local: ownHost !== undefined })
    this.#listener = listener
    const { localPath } = listener
    this.#lanes = attachLanes(listener.server, { holdMs: start.timeouts.connectMs, logger: this.#logger })
    const link = await joinCoordinator({ start, signal: this.#closing.signal, logger: this.#logger })
    this.#link = link
    link.onMessage(message => this.#hear(message))
    void link.closed.then(reason => {
      if (!this.#closing.signal.aborted) this.fail(reason.error)
    })
    this.#tell({
      type: 'join',
      workerId: start.workerId,
      incarnation: start.incarnation,
      protocol: protocolVersion,
      lane: {
        host: start.laneHost,
        port: listener.port,
        ...(ownHost === undefined || localPath === undefined ? {} : { local: { hostId: ownHost, path: localPath } }),
      },
      pid: process.pid,
      device: start.device,
    })
    this.#heartbeat = setInterval(() => {
      this.#tell({ type: 'heartbeat', progress: this.#progress, step: this.#step })
    }, start.heartbeat.intervalMs)
  }

  receive(message: ToComm): void {
    try {
      this.#handle(message)
    } catch (error) {
      this.fail(error)
    }
  }

  /** Ends everything under way with `thrown`, once; the sockets stay open until `close`, so that the reason still gets out. */
  fail(thrown: unknown, peerRank?: number): void {
    if (this.#failed || this.#closing.signal.aborted) return
    this.#failed = true
    const error = asSkeinError(thrown)
    this.#logger.error({ err: error, ...(peerRank === undefined ? {} : { peer: peerRank }) }, 'comm.failed')
    this.#group?.abort(error)
    // First, since the coordinator may close this link when it has heard of the failure.
    this.#reportFlight('failed')
    this.#tell({ type: 'failed', error: error.toJSON(), ...(peerRank === undefined ? {} : { peerRank }) })
    this.#post({ type: 'failed', error: error.toJSON() })
  }

  #handle(message: ToComm): void {
    this.#askedMs = systemClock.now()
    switch (message.type) {
      case 'connect':
        this.#connect(message.memory, message.scratch).catch((error: unknown) => this.fail(error))
        break
      case 'ready': {
        const { params, dataFingerprint, numParams } = message
        const generation = this.#generation?.generation ?? 0
        this.#tell({ type: 'ready', generation, digest: this.#digest(params), dataFingerprint, numParams })
        break
      }
      case 'op':
      case 'cancel':
        this.#serve(message)
        break
      case 'vote':
        this.#vote(message.report)
        break
      case 'tell':
        this.#tell(message.message)
        break
      case 'close':
        this.#close().catch((error: unknown) => this.#logger.error({ err: error }, 'comm.close-failed'))
        break
    }
  }

  #hear(message: CoordinatorMessage): void {
    if (message.type === 'report-flight') {
      this.#reportFlight('asked')
      return
    }
    if (message.type === 'generation') this.#generation = message
    if (message.type === 'abort' || message.type === 'refuse') {
      const error = SkeinError.fromJSON(message.error)
      this.#failed = true
      this.#group?.abort(error)
      if (message.type === 'abort') this.#reportFlight('failed')
      this.#logger.warn({ code: error.code, reason: error.message }, `run.${message.type}`)
    }
    this.#post({ type: 'told', message })
  }

  /** Dials a lane to every peer (the receiver dials), waits for theirs, and makes the group. */
  async #connect(memory: WebAssembly.Memory, scratch: Region): Promise<void> {
    const generation = this.#generation
    const lanes = this.#lanes
    if (generation === undefined || lanes === undefined) throw new Error('connect before the generation is known')
    const me = generation.members.find(member => member.workerId === this.#start.workerId)
    if (me === undefined)
      throw new Error(`worker ${this.#start.workerId} is not in generation ${generation.generation}`)
    this.#simd = createSimd(memory)
    const group = createGroup({
      rank: me.rank,
      worldSize: generation.members.length,
      generation: generation.generation,
      memory,
      simd: this.#simd,
      scratch,
      clock: systemClock,
      onFailure: (error, peer) => this.fail(error, peer),
    })
    this.#group = group
    this.#server = new GroupServer(group, answer => this.#answer(answer))
    const onHost = generation.members.filter(member => member.lane.host === me.lane.host).length
    this.#eager = new EagerLoop(eagerMs(onHost, os.availableParallelism()))
    const worldSize = generation.members.length
    const door = lanes.open({
      generation: generation.generation,
      rank: me.rank,
      worldSize,
      token: generation.laneToken,
    })
    await connectGroup(group, {
      door,
      addresses: generation.members.map(({ lane: { host, port, local } }) => ({
        host,
        port,
        ...(local !== undefined && isSameHost(local.hostId, me.lane.local?.hostId) ? { path: local.path } : {}),
      })),
      token: generation.laneToken,
      kind: this.#start.laneKind,
      timeoutMs: this.#start.timeouts.connectMs,
      signal: this.#closing.signal,
    })
    this.#logger.info({ generation: generation.generation, rank: me.rank, worldSize }, 'generation.connected')
    this.#post({ type: 'connected' })
  }

  #serve(request: GroupRequest): void {
    const server = this.#server
    if (server === undefined) throw new Error('a collective before the group is connected')
    if (request.type === 'op') this.#busy.enter()
    this.#eager.during(server.receive(request))
  }

  #answer(answer: GroupAnswer): void {
    this.#busy.leave()
    if (answer.type === 'op-done') {
      const { opSeq, kind: op, elems, durMs, waitMs, bytesSent: bytes } = answer.result
      this.#logger.debug({ opSeq, op, elems, durMs, waitMs, bytes }, 'op.done')
    }
    this.#post(answer)
  }

  #vote(report: VoteRequest): void {
    const { params, ...facts } = report
    const bytesSent = this.#group?.bytesSent ?? 0
    this.#step = report.step
    this.#progress++
    this.#tell({
      type: 'vote',
      generation: this.#generation?.generation ?? 0,
      ...facts,
      digest: this.#digest(params),
      commMs: this.#busy.take(),
      bytesSent: bytesSent - this.#bytesAtLastVote,
      rssBytes: process.memoryUsage.rss(),
    })
    this.#bytesAtLastVote = bytesSent
  }

  #digest(params: Region): string {
    if (this.#simd === undefined) throw new Error('a digest before the memory is known')
    return formatHash(this.#simd.hash(params.byteOffset, params.bytes))
  }

  /** Who entered which collective when, by the control link: a lane that is stuck does not hold it up. */
  #reportFlight(cause: 'asked' | 'failed'): void {
    this.#tell({
      type: 'flight',
      generation: this.#generation?.generation ?? 0,
      cause,
      computingMs: systemClock.now() - this.#askedMs,
      ops: this.#group?.flightReport() ?? [],
    })
  }

  #tell(message: WorkerMessage): void {
    // A link that is gone is reported by its own end.
    void this.#link?.send(message).catch(() => undefined)
  }

  async #close(): Promise<void> {
    if (this.#closing.signal.aborted) return
    clearInterval(this.#heartbeat)
    this.#closing.abort()
    this.#group?.close()
    await this.#link?.close()
    this.#lanes?.close()
    await this.#listener?.close()
    await this.#logger.close()
    this.#post({ type: 'closed' })
  }
}

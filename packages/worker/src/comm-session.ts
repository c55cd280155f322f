import os from 'node:os'
import type { Standing } from '@skein/catchup'
import type { GroupAnswer, GroupRequest } from '@skein/collective'
import { assertNever, asSkeinError, partOf, SkeinError, systemClock } from '@skein/core'
import { formatHash, type Region, type Simd, createSimd } from '@skein/simd'
import { createLogger, type Logger } from '@skein/telemetry'
import { attachLanes, guardOf, hostId, type LaneServer, type Listener, listen, wantUpgrade } from '@skein/transport'
import type { CoordinatorMessage, WorkerMessage } from '@skein/wire'
import { CatchUp } from './catch-up.ts'
import { CommGeneration } from './comm-generation.ts'
import { WorkerErrors } from './errors.ts'
import type { GenerationMessage } from './generation-client.ts'
import { Mirror } from './mirror.ts'
import { CoordinatorLink, type JoinFacts } from './coordinator-link.ts'
import { otherRunError, type Welcome } from './same-run.ts'
import type { CommStart, OfGroup, ToComm, ToDevice } from './thread-messages.ts'

type VoteRequest = Extract<ToComm, { type: 'vote' }>
type Loaded = Extract<ToComm, { type: 'loaded' }>
type HeldState = Standing & { readonly part: number }

/**
 * The comm thread's work: the link to the coordinator, the lanes, the group of the present generation, votes and heartbeats.
 *
 * Messages of the device thread arrive through `receive`, all answers leave through `post`. A lost peer or a lost coordinator ends the
 * generation, not the worker: both sides are told at once, and the next generation finds the state as it was. What cannot be gone on
 * from ends as `failed`.
 */
export class CommSession {
  readonly #start: CommStart
  readonly #post: (message: ToDevice) => void
  readonly #logger: Logger
  readonly #closing = new AbortController()
  #listener: Listener | undefined
  #lanes: LaneServer | undefined
  readonly #coordinator: CoordinatorLink
  /** The first one: what this worker trains, and of which run. */
  #welcome: Welcome | undefined
  /** The last that was said to be on disk: said again to a coordinator that may not have heard it. */
  #checkpointed: Extract<WorkerMessage, { type: 'checkpointed' }> | undefined
  #loaded: Loaded | undefined
  #leaving: string | undefined
  #message: GenerationMessage | undefined
  /** The last one that the device thread was told of. */
  #toldGeneration = 0
  #generation: CommGeneration | undefined
  readonly #catchUp: CatchUp
  readonly #mirror: Mirror
  #restoring: AbortController | undefined
  /** What is still to be told of the generation that ended last. */
  #lastReport: { readonly timer: NodeJS.Timeout; readonly send: () => void } | undefined
  /** Of the device thread; another one where this worker has taken another part. */
  #memory: WebAssembly.Memory | undefined
  #simd: Simd | undefined
  /** What the device thread could go on from, the newest first. */
  #holds: HeldState[] = []
  #progress = 0
  #step = 0
  #heartbeat: ReturnType<typeof setInterval> | undefined
  /** Nothing more is expected of the coordinator. */
  #isOver = false
  /** When the device thread last asked for something: since then it computes. */
  #askedMs = systemClock.now()

  constructor(start: CommStart, post: (message: ToDevice) => void) {
    this.#start = start
    this.#post = post
    this.#logger = createLogger({
      level: start.log.level,
      bindings: { workerId: start.workerId, pkg: 'worker.comm' },
      ...(start.log.file === undefined ? {} : { file: start.log.file }),
    })
    this.#coordinator = new CoordinatorLink({
      start,
      logger: this.#logger,
      closing: this.#closing.signal,
      isWanted: () => !this.#isOver,
      facts: () => this.#joinFacts(),
      onMessage: message => this.#hear(message),
      onLost: error => this.#endGeneration(error),
      onFailed: thrown => this.fail(thrown),
    })
    const asker = { workerId: start.workerId, hostId: ownHostOf(start), tls: start.tls }
    this.#catchUp = new CatchUp({
      ...asker,
      logger: this.#logger,
      isBusy: () => this.#generation?.isBusy ?? false,
      onRecord: history => post({ type: 'record', history }),
      onHeld: (generation, held) => {
        const { step, digest } = held ?? {}
        this.#holds =
          step === undefined || digest === undefined ? this.#wholeHolds : [{ part: this.#part, step, digest }]
        this.#tell({ type: 'caught-up', generation, holds: this.#holds })
      },
      onFailed: (generation, error) => this.#tell({ type: 'catch-up-failed', generation, error: error.toJSON() }),
    })
    this.#mirror = new Mirror({
      ...asker,
      logger: this.#logger,
      server: this.#catchUp.server,
      onKept: (generation, { step, digests }) => this.#tell({ type: 'mirrored', generation, step, digests }),
    })
  }

  /** Listens for lanes, then joins. */
  async open(): Promise<void> {
    const start = this.#start
    const listener = await listen({
      host: start.listenHost,
      port: start.listenPort,
      local: usesLocalLanes(start),
      logger: this.#logger,
      onRequest: this.#catchUp.server.listener(() => guardOf(listener.server), wantUpgrade),
      ...(start.tls === undefined ? {} : { tls: start.tls }),
    })
    this.#listener = listener
    // Whoever dials too early hears so while it still waits for an answer, and knows that this worker lives.
    const holdMs = start.timeouts.connectMs / 2
    this.#lanes = attachLanes(listener.server, { holdMs, logger: this.#logger })
    await this.#coordinator.join(start.timeouts.joinMs)
    this.#heartbeat = setInterval(() => {
      const opsEntered = this.#generation?.opsEntered ?? 0
      const progress = this.#progress + (Atomics.load(start.numPieces, 0) >>> 0)
      const waitsFor = this.#generation?.waitsFor
      this.#tell({
        type: 'heartbeat',
        progress,
        step: this.#step,
        opsEntered,
        ...(waitsFor === undefined ? {} : { waitsFor }),
      })
      this.#catchUp.sweep()
    }, start.heartbeat.intervalMs)
  }

  receive(message: ToComm): void {
    try {
      this.#handle(message)
    } catch (error) {
      this.fail(error)
    }
  }

  /** Ends everything with `thrown`, once; the sockets stay open until `close`, so that the reason still gets out. */
  fail(thrown: unknown): void {
    if (this.#isOver || this.#closing.signal.aborted) return
    this.#isOver = true
    const error = asSkeinError(thrown)
    this.#logger.error({ err: error }, 'comm.failed')
    this.#endGeneration(error)
    this.#sendLastReport()
    this.#tell({ type: 'failed', error: error.toJSON() })
    this.#post({ type: 'failed', error: error.toJSON() })
  }

  #handle(message: ToComm): void {
    this.#askedMs = systemClock.now()
    switch (message.type) {
      case 'loaded':
        this.#loaded = message
        this.#tell(message)
        break
      case 'state':
        // What was held lay where nobody looks any more.
        this.#holds = []
        this.#mirror.letGo()
        this.#catchUp.share(message.state, message.part)
        break
      case 'idle':
        if (message.generation === this.#toldGeneration) this.#catchUp.idle()
        break
      case 'restore':
        this.#restore(message)
        break
      case 'connect':
        this.#connect(message)
        break
      case 'mirror':
        this.#takeMirror(message)
        break
      case 'ready':
        if (message.generation !== this.#generation?.number) break
        this.#catchUp.ready()
        this.#holds = [{ part: this.#part, step: message.step, digest: this.#digest(message.params) }]
        this.#tell({ type: 'ready', generation: message.generation, digest: this.#holds[0]?.digest ?? '' })
        break
      case 'op':
      case 'cancel':
      case 'messages':
        this.#serve(message)
        break
      case 'vote':
        this.#vote(message)
        break
      case 'leave':
        this.#leaving = message.reason
        this.#tell(message)
        break
      case 'tell':
        if (message.message.type === 'checkpointed') this.#checkpointed = message.message
        this.#tell(message.message)
        break
      case 'close':
        this.#close().catch((error: unknown) => this.#logger.error({ err: error }, 'comm.close-failed'))
        break
      default:
        assertNever(message, 'message of the device thread')
    }
  }

  /** Where peers find this worker, and what it has to bring. */
  #joinFacts(): JoinFacts {
    const start = this.#start
    const ownHost = ownHostOf(start)
    const localPath = this.#listener?.localPath
    return {
      lane: {
        host: start.laneHost,
        port: start.lanePort ?? this.#listener?.port ?? 0,
        ...(ownHost === undefined || localPath === undefined ? {} : { local: { hostId: ownHost, path: localPath } }),
      },
      holds: this.#wholeHolds,
      keeps: this.#mirror.kept,
    }
  }

  /** Of the model, whose state lies here. */
  get #part(): number {
    return this.#catchUp.part
  }

  get #wholeHolds(): HeldState[] {
    return this.#holds.filter(({ step }) => this.#catchUp.isWhole(step))
  }

  #hear(message: CoordinatorMessage): void {
    switch (message.type) {
      case 'welcome':
        if (!this.#isAtHome(message)) return
        if (this.#loaded !== undefined) this.#tell(this.#loaded)
        if (this.#checkpointed !== undefined) this.#tell(this.#checkpointed)
        if (this.#leaving !== undefined) this.#tell({ type: 'leave', reason: this.#leaving })
        if (this.#welcome !== undefined) return
        this.#welcome = message
        break
      case 'generation':
        this.#endGeneration(supersededError(message.generation))
        this.#message = message
        this.#mirror.isWhole(message.mirrored)
        this.#catchUp.taken()
        this.#toldGeneration = message.generation
        this.#catchUp.server.open(message.generation, message.laneToken)
        this.#committed(message.startStep)
        // The run has gone back behind it.
        if (message.startStep < (this.#checkpointed?.step ?? 0)) this.#checkpointed = undefined
        break
      case 'catch-up':
        this.#catchUp.begin(message)
        break
      case 'abort':
        if (message.generation === this.#message?.generation) this.#endGeneration(SkeinError.fromJSON(message.error))
        break
      case 'refuse':
      case 'fail': {
        const error = SkeinError.fromJSON(message.error)
        this.#logger.warn({ code: error.code, reason: error.message }, `run.${message.type}`)
        const isForNow = message.type === 'refuse' && error.retry === 'next-generation'
        if (isForNow && this.#coordinator.rejoin(error)) this.#endGeneration(error)
        else this.fail(error)
        return
      }
      case 'report-flight':
        // Nothing between two generations.
        if (this.#generation !== undefined) {
          this.#reportFlight(this.#generation, 'asked', systemClock.now() - this.#askedMs)
        }
        return
      case 'finish':
        this.#isOver = true
        break
      case 'start':
      case 'commit':
        if (message.generation === this.#message?.generation) this.#committed(message.step)
        break
      case 'mirror-whole':
        this.#mirror.isWhole(message.step)
        break
      case 'regroup':
      case 'shares':
      case 'checkpoint-parts':
      case 'stop':
        break
    }
    this.#post({ type: 'told', message })
  }

  /** Whether this is the run that the worker is in. Another one hears no word of it: an error of its last member would be that run's end. */
  #isAtHome(welcome: Welcome): boolean {
    const error = this.#welcome === undefined ? undefined : otherRunError(this.#welcome, welcome)
    if (error === undefined) return true
    this.#coordinator.letGo(error.what)
    this.fail(error)
    return false
  }

  /** The state after `step` is everybody's now: given to those who ask for it, where it is held here. */
  #committed(step: number): void {
    this.#catchUp.server.committed(this.#holds.find(held => held.step === step))
  }

  #endGeneration(error: SkeinError): void {
    const message = this.#message
    if (message === undefined) return
    this.#message = undefined
    this.#catchUp.server.close(message.generation)
    // First of all the word that the device thread sees without listening.
    Atomics.store(this.#start.lastOver, 0, message.generation)
    this.#restoring?.abort(error)
    this.#mirror.stop()
    const ended = this.#generation
    ended?.end(error)
    this.#generation = undefined
    this.#post({ type: 'over', generation: message.generation, error: error.toJSON() })
    this.#logger.info({ generation: message.generation, code: error.code, reason: error.message }, 'generation.over')
    if (ended === undefined) return
    this.#sendLastReport()
    const computingMs = systemClock.now() - this.#askedMs
    // The next generation comes first: a report takes as long as all of its preparation where it is the first of a process.
    const timer = setTimeout(() => this.#sendLastReport(), lastReportMs)
    this.#lastReport = { timer, send: () => this.#reportFlight(ended, 'failed', computingMs) }
  }

  #connect({ generation, memory, groups }: Extract<ToComm, { type: 'connect' }>): void {
    const message = this.#message
    const lanes = this.#lanes
    // It may be over before the device thread has heard so.
    if (message?.generation !== generation || lanes === undefined) return
    if (this.#memory !== memory) {
      this.#memory = memory
      this.#simd = createSimd(memory)
    }
    const current = new CommGeneration({
      message,
      workerId: this.#start.workerId,
      memory,
      groups,
      simd: this.#simd as Simd,
      lanes,
      laneKind: this.#start.laneKind,
      tls: this.#start.tls,
      // Who wants no Unix sockets has a network in mind: a tunnel, a proxy, a link that is watched or shaped.
      checksums: !this.#start.localLanes,
      connectMs: this.#start.timeouts.connectMs,
      peerMs: this.#start.timeouts.peerMs,
      cores: os.availableParallelism(),
      logger: this.#logger,
      post: answer => this.#answer(current, answer),
      onPeerLost: (error, peerRank) => this.#peerLost(current, error, peerRank),
    })
    this.#generation = current
    current.connect().then(
      () => {
        if (current === this.#generation) this.#post({ type: 'connected', generation })
      },
      (thrown: unknown) => {
        const error = asSkeinError(thrown)
        const { peer } = error.details
        if (typeof peer === 'number') this.#peerLost(current, error, peer)
        else if (current === this.#generation) this.fail(error)
      },
    )
  }

  #restore({ generation, step }: Extract<ToComm, { type: 'restore' }>): void {
    const message = this.#message
    if (message?.generation !== generation || message.origin.kind !== 'members') return
    const { parts, origin } = message
    const copies = origin.copies?.find(({ part }) => part === this.#part)
    const ranks = copies?.ranks ?? origin.ranks.filter(rank => partOf(rank, parts) === this.#part)
    const ending = new AbortController()
    this.#restoring = ending
    this.#catchUp.restore(message, { ranks, areCopies: copies !== undefined }, step, ending.signal).then(
      () => this.#post({ type: 'restored', generation }),
      (thrown: unknown) => {
        if (message !== this.#message) return
        const error = asSkeinError(thrown)
        this.#logger.warn({ err: error, step }, 'restore.failed')
        const [peerRank = 0] = ranks
        this.#tell({ type: 'peer-lost', generation, peerRank, error: error.toJSON() })
        this.#endGeneration(error)
      },
    )
  }

  #takeMirror({ generation, step, slots }: Extract<ToComm, { type: 'mirror' }>): void {
    const message = this.#message
    if (message?.generation !== generation) return
    const { workerId } = this.#start
    const rank = message.members.find(member => member.workerId === workerId)?.rank ?? -1
    this.#mirror.take({ message, rank, part: this.#part, step, slots })
  }

  #peerLost(generation: CommGeneration, error: SkeinError, peerRank: number): void {
    if (generation !== this.#generation) return
    this.#logger.warn({ err: error, peer: peerRank }, 'peer.lost')
    this.#tell({ type: 'peer-lost', generation: generation.number, peerRank, error: error.toJSON() })
    this.#endGeneration(error)
  }

  #serve(request: OfGroup<GroupRequest>): void {
    if (request.type === 'op' || request.type === 'messages') this.#progress++
    // Without a generation the op's promise has been rejected, or is about to be.
    this.#generation?.serve(request)
  }

  #answer(generation: CommGeneration, answer: OfGroup<GroupAnswer>): void {
    if (generation === this.#generation) this.#post(answer)
  }

  #vote({ generation, report }: VoteRequest): void {
    const { params, ...facts } = report
    const current = this.#generation
    const digest = this.#digest(params)
    this.#step = report.step
    this.#progress++
    this.#holds = [{ part: this.#part, step: report.step, digest }, ...this.#holds.slice(0, 1)]
    if (current?.number !== generation) return
    this.#tell({
      type: 'vote',
      generation,
      ...facts,
      digest,
      ...current.takeCosts(),
      rssBytes: process.memoryUsage.rss(),
    })
  }

  #digest(params: Region): string {
    if (this.#simd === undefined) throw new Error('a digest before the memory is known')
    return formatHash(this.#simd.hash(params.byteOffset, params.bytes))
  }

  /** Who entered which collective when, by the control link: a lane that is stuck does not hold it up. */
  #reportFlight(generation: CommGeneration, cause: 'asked' | 'failed', computingMs: number): void {
    this.#tell({ type: 'flight', generation: generation.number, cause, computingMs, ops: generation.flightReport() })
  }

  /** What was to be told of the generation that ended, if it is not told yet. */
  #sendLastReport(): void {
    clearTimeout(this.#lastReport?.timer)
    this.#lastReport?.send()
    this.#lastReport = undefined
  }

  #tell(message: WorkerMessage): void {
    this.#coordinator.tell(message)
  }

  async #close(): Promise<void> {
    if (this.#closing.signal.aborted) return
    clearInterval(this.#heartbeat)
    this.#closing.abort()
    this.#catchUp.stop()
    this.#mirror.stop()
    this.#generation?.end(supersededError(0))
    this.#sendLastReport()
    await this.#coordinator.close()
    this.#lanes?.close()
    await this.#listener?.close()
    await this.#logger.close()
    this.#post({ type: 'closed' })
  }
}

/** After the end of a generation: by then the next one trains, or there is none. */
const lastReportMs = 1_000

/** What tells peers that they are on this host, where they may meet on Unix sockets. */
const ownHostOf = (start: CommStart): string | undefined => (usesLocalLanes(start) ? hostId() : undefined)

/** Whether peers of this host meet on Unix sockets. */
const usesLocalLanes = (start: CommStart): boolean => start.laneKind === 'raw' && start.localLanes

const supersededError = (generation: number): SkeinError =>
  new SkeinError(WorkerErrors.GENERATION_OVER, {
    what: `generation ${generation} takes over`,
    why: 'the membership has changed',
    todo: 'nothing; the last step that was committed is gone on from',
  })

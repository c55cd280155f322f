import type { SkippedCheckpoint } from '@skein/checkpoint'
import { asSkeinError, type Clock, type Deferred, deferred, type ErrorRecord, SkeinError, within } from '@skein/core'
import {
  type Decision,
  decide,
  initialState,
  type LinkId,
  type MembershipConfig,
  type MembershipEvent,
  type MembershipState,
  memberOfLink,
  type RecoveredEvent,
  type RunEvent,
  type SeenMoves,
  type StepEvent,
} from '@skein/membership'
import type { Logger } from '@skein/telemetry'
import type { Refusals } from '@skein/transport'
import type { WorkerMessage } from '@skein/wire'
import { CoordinatorErrors } from './errors.ts'
import type { EventFeed } from './event-feed.ts'
import { sealLaneToken } from './lane-token.ts'
import { type ControlPort, Links } from './links.ts'
import { RunDiagnosis } from './run-diagnosis.ts'
import { type RunStatus, statusOf } from './status.ts'
import type { RunLog } from './run-log.ts'
import { TimelineRecords } from './timelines.ts'
import type { RunWhy } from './why.ts'
import { toEvent } from './worker-messages.ts'

/** How a run ended. */
export interface RunOutcome {
  readonly status: 'finished' | 'stopped' | 'failed'
  readonly reason: string
  /** The last committed step. */
  readonly steps: number
  readonly checkpoint: string | null
  /** Where status is 'failed'. */
  readonly error?: ErrorRecord
}

export interface CoordinatorParts {
  readonly config: MembershipConfig
  readonly log: RunLog
  readonly feed: EventFeed
  readonly clock: Clock
  readonly logger: Logger
  readonly joinTimeoutMs: number
  readonly lingerMs: number
  /** Makes secrets of what membership calls the lane tokens of generations. */
  readonly laneKey: string
  readonly refusals: Refusals
}

/**
 * Carries out what membership decides: logs and shows first, all of one decision or nothing, and sends when that is durable. Events
 * are decided one after the other: while the log writes, the next ones wait. Owns the control links; log and feed are the caller's.
 */
export class Coordinator {
  readonly #parts: CoordinatorParts
  readonly #links: Links
  readonly #diagnosis: RunDiagnosis
  readonly #timelines: TimelineRecords
  readonly #finished = deferred<RunOutcome>()
  readonly #streams = new Set<Promise<void>>()
  #linkGone: Deferred<void> = deferred()
  #state: MembershipState
  #lastStep: StepEvent | undefined
  #lastReason = ''
  #isEnding = false
  #isDeposed = false
  readonly #waiting: MembershipEvent[] = []
  /** An event is being decided, or its records are on their way to the log. */
  #isBusy = false

  constructor(parts: CoordinatorParts) {
    this.#parts = parts
    this.#links = new Links(parts.logger)
    this.#state = initialState(parts.config, parts.clock.now())
    const { clock, logger } = parts
    this.#timelines = new TimelineRecords(parts.config.runDir, parts.config.job, logger)
    this.#diagnosis = new RunDiagnosis({
      clock,
      logger,
      links: this.#links,
      state: () => this.#state,
      onEvent: event => this.apply(event),
    })
  }

  /** Says what run this is and where it begins; once, before anything else. */
  async begin(
    recovered: RecoveredEvent,
    skipped: readonly SkippedCheckpoint[],
    name: string | undefined,
  ): Promise<void> {
    const { runId, runDir, numWorkers, totalSteps } = this.#parts.config
    const run: RunEvent = {
      event: 'run',
      runId,
      runDir,
      ...(name === undefined ? {} : { name }),
      numWorkers,
      totalSteps,
      startStep: recovered.step,
      ...(recovered.checkpoint === undefined ? {} : { resume: recovered.checkpoint.path }),
    }
    for (const one of skipped) this.#parts.logger.warn({ ...one }, 'checkpoint.skipped')
    const passedOver = skipped.map(one => ({ event: 'checkpoint-skipped' as const, ...one }))
    await this.#parts.log.append([], [run, ...passedOver])
    this.apply(recovered)
  }

  /** Resolves when the run is over and its end is told; never rejects. */
  get finished(): Promise<RunOutcome> {
    return this.#finished.promise
  }

  get hasEnded(): boolean {
    return this.#isEnding
  }

  get numLinks(): number {
    return this.#links.size
  }

  status(): RunStatus {
    const { feed, clock } = this.#parts
    return statusOf(this.#state, {
      facts: link => this.#links.facts(link),
      steps: this.#diagnosis.steps,
      lastStep: this.#lastStep,
      numEvents: feed.length,
      nowMs: clock.now(),
    })
  }

  /** What holds the run up; asks the workers, so it may take a second. */
  why(): Promise<RunWhy> {
    return this.#diagnosis.why()
  }

  /** A link was opened; the caller reports what comes over it, and its end, under this name. */
  linkOpened(port: ControlPort): LinkId {
    return this.#links.add(port, this.#parts.clock.now())
  }

  linkSaid(link: LinkId, message: WorkerMessage): void {
    if (!this.#links.has(link)) return
    const now = this.#parts.clock.now()
    if (message.type === 'heartbeat') {
      const { progress, step, opsEntered, waitsFor } = message
      this.#links.saw(link, now, { progress, step, opsEntered, waitsFor })
    } else this.#links.saw(link, now)
    this.#diagnosis.heard(link, message)
    if (message.type === 'timeline') this.#keepTimeline(link, message)
    const event = toEvent(link, message)
    if (event !== undefined) this.apply(event)
  }

  #keepTimeline(link: LinkId, message: Extract<WorkerMessage, { type: 'timeline' }>): void {
    const { generation, members } = this.#state
    const member = memberOfLink(this.#state, link)
    if (member?.rank === undefined || message.generation !== generation) return
    this.#timelines.take({ workerId: member.workerId, rank: member.rank, worldSize: members.tally.active }, message)
  }

  /** `isSilent`: nothing was heard for too long; else the connection ended. */
  linkLost(link: LinkId, reason: string, isSilent: boolean): void {
    if (!this.#links.has(link)) return
    this.#links.remove(link)
    this.#diagnosis.linkLost(link, reason)
    this.apply({ type: 'linkLost', link, reason, isSilent })
    const gone = this.#linkGone
    this.#linkGone = deferred()
    gone.resolve()
  }

  /** To be called a few times a second: bounds every wait. */
  tick(): void {
    // Its deadlines are looked at when the log has answered: time goes on for them meanwhile.
    if (this.#isBusy) return
    const { clock, joinTimeoutMs } = this.#parts
    for (const link of this.#links.silent(clock.now() - joinTimeoutMs)) {
      const error = new SkeinError(CoordinatorErrors.JOIN_TIMEOUT, {
        what: `nobody joined over this link within ${joinTimeoutMs} ms`,
        why: 'the peer is no worker of Skein, or hangs',
        todo: 'start the worker again',
      })
      this.#parts.refusals.note('noJoin', { link, code: error.code })
      this.#links.refuse(link, error.toJSON())
    }
    const isLate = clock.now() >= this.#state.deadlineMs
    this.apply({ type: 'tick', ...(isLate ? { seen: this.#seenMoves() } : {}) })
    this.#diagnosis.tick()
  }

  #seenMoves(): SeenMoves {
    const nowMs = this.#parts.clock.now()
    return Object.fromEntries(
      this.#state.members.map(({ workerId, link }) => {
        const { opsEntered = 0, movedMs = nowMs, waitsFor } = this.#links.facts(link) ?? {}
        return [workerId, { opsEntered, stillMs: nowMs - movedMs, waitsFor }]
      }),
    )
  }

  /** One reader of the event stream, awaited at the end of the run. */
  addStream(stream: Promise<void>): void {
    const settled = stream.catch((error: unknown) => {
      this.#parts.logger.warn({ err: error }, 'stream.failed')
    })
    this.#streams.add(settled)
    void settled.then(() => this.#streams.delete(settled))
  }

  get numStreams(): number {
    return this.#streams.size
  }

  apply(event: MembershipEvent): void {
    this.#waiting.push(event)
    if (!this.#isBusy) this.#decideWaiting()
  }

  #decideWaiting(): void {
    this.#isBusy = true
    let written: Promise<void> | undefined
    try {
      while (written === undefined && !this.#isDeposed) {
        const event = this.#waiting.shift()
        if (event === undefined) break
        written = this.#decide(event)
      }
    } finally {
      if (written === undefined) this.#isBusy = false
    }
    void written?.then(() => this.#decideWaiting())
  }

  /** Undefined where the log was quick, and all is done. */
  #decide(event: MembershipEvent): Promise<void> | undefined {
    const before = this.#state
    const decided = decide(before, event, this.#parts.clock.now())
    const decision = { ...decided, effects: this.#diagnosis.watch(decided.effects) }
    const isDurable = () => {
      this.#carryOut(before, decision)
      if (event.type === 'joined' && memberOfLink(this.#state, event.link) !== undefined) this.#links.joined(event.link)
      if (decision.effects.some(effect => effect.type === 'emit' && effect.event.event === 'step')) this.#measured()
    }
    const hasFailed = (thrown: unknown) => this.#logFailed(asSkeinError(thrown))
    let writing: void | Promise<void>
    try {
      writing = this.#makeDurable(decision)
    } catch (thrown) {
      hasFailed(thrown)
      return undefined
    }
    if (writing instanceof Promise) return writing.then(isDurable, hasFailed)
    isDurable()
    return undefined
  }

  /** What a committed step has told about the speeds of its members may be reason to divide the batch otherwise. */
  #measured(): void {
    if (this.#parts.config.shares === 'measured') this.apply({ type: 'measured', speeds: this.#diagnosis.steps.speeds })
  }

  /** Ends every link; for the end of the process. */
  closeLinks(reason: string): void {
    this.#links.closeAll(reason)
  }

  #makeDurable({ effects }: Decision): void | Promise<void> {
    const records = effects.flatMap(effect => (effect.type === 'append' ? [effect.record] : []))
    const events = effects.flatMap(effect => (effect.type === 'emit' ? [effect.event] : []))
    return this.#parts.log.append(records, events)
  }

  /** What was decided last did not happen. */
  #logFailed(error: SkeinError): void {
    if (error.code === CoordinatorErrors.LEADERSHIP_LOST.code) this.stepDown(error)
    else this.#giveUp(error)
  }

  /**
   * Another coordinator may lead by now: this one decides nothing more, and says nothing about the run, whose workers look for
   * whoever leads it. Idempotent; after the end of the run it changes nothing.
   */
  stepDown(error: SkeinError): void {
    if (this.#isEnding) return
    this.#isEnding = true
    this.#isDeposed = true
    const { logger, feed } = this.#parts
    const { committed, checkpoint } = this.#state
    logger.error({ err: error, step: committed.step }, 'coordinator.deposed')
    feed.end()
    this.#links.closeAll(error.what)
    this.#finished.resolve({
      status: 'failed',
      reason: error.what,
      steps: committed.step,
      checkpoint: checkpoint?.path ?? null,
      error: error.toJSON(),
    })
  }

  /** The log takes nothing more: the run ends at the last durable commit. */
  #giveUp(error: SkeinError): void {
    this.#parts.logger.error({ err: error }, 'store.failed')
    const before = this.#state
    const decision = decide(before, { type: 'coordinatorFailed', error: error.toJSON() }, this.#parts.clock.now())
    this.#parts.feed.addUnlogged(decision.effects.flatMap(effect => (effect.type === 'emit' ? [effect.event] : [])))
    this.#carryOut(before, decision)
  }

  #carryOut(before: MembershipState, { state, effects, reason }: Decision): void {
    const { logger, feed, laneKey } = this.#parts
    this.#state = state
    if (reason !== this.#lastReason) {
      this.#lastReason = reason
      const facts = { generation: state.generation, step: state.committed.step, phase: state.phase, reason }
      if (state.phase === before.phase) logger.debug(facts, 'membership.decided')
      else logger.info(facts, 'membership.phase')
    }
    let hasEvents = false
    for (const effect of effects) {
      switch (effect.type) {
        case 'append':
          break
        case 'emit':
          hasEvents = true
          if (effect.event.event === 'step') this.#lastStep = effect.event
          if (effect.event.event !== 'step')
            logger.info({ ...effect.event, event: undefined }, `run.${effect.event.event}`)
          break
        case 'send':
          this.#links.send(effect.link, sealLaneToken(laneKey, effect.message))
          break
        case 'broadcast':
          for (const link of effect.links) this.#links.send(link, sealLaneToken(laneKey, effect.message))
          break
        case 'close':
          this.#links.close(effect.link, effect.reason)
          break
      }
    }
    if (hasEvents) feed.announce()
    if (state.phase === 'ended' && !this.#isEnding) {
      this.#isEnding = true
      void this.#wrapUp()
    }
  }

  /** Lets the end reach readers and workers, for a bounded time, then says so. */
  async #wrapUp(): Promise<void> {
    const { feed, lingerMs, logger } = this.#parts
    feed.end()
    const told = async () => {
      await this.#links.flushed()
      await Promise.all(this.#streams)
      // Workers close their links when they have heard the end.
      while (this.#links.size > 0) await this.#linkGone.promise
    }
    await within(told(), { what: 'readers and workers to hear the end', timeoutMs: lingerMs }).catch(
      (error: unknown) => {
        logger.warn({ err: error, links: this.#links.size, streams: this.#streams.size }, 'run.end.slow')
      },
    )
    this.#links.closeAll('the run is over')
    const { outcome, committed, checkpoint } = this.#state
    this.#finished.resolve({
      status: outcome?.status ?? 'failed',
      reason: outcome?.reason ?? '',
      steps: committed.step,
      checkpoint: checkpoint?.path ?? null,
      ...(outcome?.error === undefined ? {} : { error: outcome.error }),
    })
  }
}

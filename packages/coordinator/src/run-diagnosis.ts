import type { Clock, Ms } from '@skein/core'
import { type CauseKind, type LinkWatchState, noLinks, observeLinks } from '@skein/diagnosis'
import { type Effect, type LinkId, type MembershipEvent, type MembershipState, memberOfLink } from '@skein/membership'
import type { Logger } from '@skein/telemetry'
import type { WorkerMessage } from '@skein/wire'
import { type FailureReport, FailureReports } from './failure-reports.ts'
import { FlightRecords } from './flight-records.ts'
import type { Links } from './links.ts'
import { StepWatch } from './step-watch.ts'
import { flightsOf, isHeldUp, type RunWhy, type WhyParts, whyOf } from './why.ts'

/** How long workers have to answer what they are in: their comm threads do nothing that takes long. */
const answerMs = 1000
/** Between two questions while a step is held up. */
const askAgainMs = 2000

export interface DiagnosisParts {
  readonly clock: Clock
  readonly logger: Logger
  readonly links: Links
  /** The present state of membership. */
  state(): MembershipState
  /** A link does not move: something has to be done about it. */
  onEvent(event: MembershipEvent): void
}

/** Watches a run beside membership: decides nothing, and says who is slow, whom a step waits for, and who saw a failure first. */
export class RunDiagnosis {
  readonly #parts: DiagnosisParts
  readonly #flights = new FlightRecords()
  readonly #failures = new FailureReports()
  readonly steps = new StepWatch()
  #askedMs: Ms = Number.NEGATIVE_INFINITY
  /** The answer that readers wait for now. */
  #why: Promise<RunWhy> | undefined
  #lastCause = ''
  /** What was found since the last decision. */
  #found: Effect[] = []
  #links: LinkWatchState = noLinks

  constructor(parts: DiagnosisParts) {
    this.#parts = parts
  }

  /** What a decision causes, with what its steps tell about stragglers, and what was found since the last one; there is one at every tick. */
  watch(effects: readonly Effect[]): readonly Effect[] {
    const found = this.#found
    this.#found = []
    return [...found, ...this.steps.watch(effects)]
  }

  /** Keeps what a worker says about its ops, and about what went wrong. */
  heard(link: LinkId, message: WorkerMessage): void {
    const state = this.#parts.state()
    const member = memberOfLink(state, link)
    if (member === undefined) return
    if (message.type === 'flight') this.#flights.take(member.workerId, message, this.#parts.clock.now())
    if (message.type !== 'failed' && message.type !== 'peer-lost') return
    const { error } = message
    // Those who hear of the end of a generation close its lanes, and the others see that: an echo, not a failure of the next one.
    if (message.type === 'peer-lost' && message.generation !== state.generation) return
    const peerRank = message.type === 'peer-lost' ? message.peerRank : undefined
    const about = [...state.members].find(({ rank }) => rank !== undefined && rank === peerRank)?.workerId ?? null
    this.#report({ workerId: member.workerId, about, code: error.code, what: error.what })
  }

  /** To be called before membership hears of it. */
  linkLost(link: LinkId, reason: string): void {
    const member = memberOfLink(this.#parts.state(), link)
    if (member === undefined || !this.#isUnderWay) return
    this.#report({
      workerId: null,
      about: member.workerId,
      code: null,
      what: `the link of ${member.workerId} was lost: ${reason}`,
    })
  }

  /** Asks, and says what it finds, while a step is held up. */
  tick(): void {
    const { clock } = this.#parts
    if (clock.now() - this.#askedMs < askAgainMs) return
    // While members bring one another to the same state no step is due, and links may be stuck all the same.
    if (this.#parts.state().phase !== 'preparing' && !this.#isHeldUp) return
    void this.why().then(why => this.#tell(why))
  }

  /** What holds the run up: asks every worker what it is in, and waits for the answers, but not long. Never rejects. */
  why(): Promise<RunWhy> {
    this.#why ??= this.#ask().finally(() => {
      this.#why = undefined
    })
    return this.#why
  }

  async #ask(): Promise<RunWhy> {
    const { clock, links } = this.#parts
    const askedMs = clock.now()
    this.#askedMs = askedMs
    if (this.#isUnderWay) {
      const { generation, members } = this.#parts.state()
      const asked = members.filter(({ rank, link }) => rank !== undefined && link !== undefined)
      for (const { link } of asked) if (link !== undefined) links.send(link, { type: 'report-flight' })
      const workerIds = asked.map(({ workerId }) => workerId)
      await this.#flights.answered(workerIds, generation, askedMs, answerMs)
    }
    const parts: WhyParts = {
      state: this.#parts.state(),
      facts: link => links.facts(link),
      steps: this.steps,
      flights: this.#flights,
      failures: this.#failures,
      askedMs,
      nowMs: clock.now(),
    }
    this.#watchLinks(parts)
    return whyOf(parts)
  }

  #watchLinks(parts: WhyParts): void {
    const { generation } = parts.state
    const { state, dead } = observeLinks(this.#links, { generation, records: flightsOf(parts), nowMs: parts.nowMs })
    this.#links = state
    if (dead.length === 0) return
    const links = dead.map(({ src, dst }) => ({ from: src, to: dst }))
    const forMs = Math.max(...dead.map(({ waitedMs }) => waitedMs))
    for (const { from, to } of links) this.#parts.logger.warn({ generation, from, to, forMs }, 'link.stuck')
    // After this answer: whoever asked is told of what it found.
    queueMicrotask(() => this.#parts.onEvent({ type: 'linkStuck', generation, links, forMs }))
  }

  #tell({ summary, causes, step, waitedMs }: RunWhy): void {
    const [worst] = causes
    if (worst === undefined) return
    const { cause, workerId, to } = worst
    const found = [step, cause, workerId, to].join(' ')
    if (found === this.#lastCause) return
    this.#lastCause = found
    this.#parts.logger.warn({ step, workerId, code: cause, reason: summary }, 'step.held-up')
    // The others make steps slow, and are told of where they are found; they do not hold this one up.
    if (waitedMs === null || !holdsUp(cause) || !this.#isHeldUp) return
    const event = { event: 'held-up', step: step + 1, waitedMs, cause, workerId, reason: summary } as const
    this.#found.push({ type: 'emit', event: to === undefined ? event : { ...event, to } })
  }

  #report(report: Omit<FailureReport, 'atMs'>): void {
    this.#failures.add(this.#parts.state().generation, { ...report, atMs: this.#parts.clock.now() })
  }

  get #isHeldUp(): boolean {
    return isHeldUp(this.#parts.state(), this.steps, this.#parts.clock.now())
  }

  get #isUnderWay(): boolean {
    const { phase } = this.#parts.state()
    return phase === 'preparing' || phase === 'training' || phase === 'gathering'
  }
}

const holdsUp = (cause: CauseKind): boolean =>
  cause === 'silent-rank' || cause === 'missing-rank' || cause === 'stuck-link'

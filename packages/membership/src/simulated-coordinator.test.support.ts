import { mayTakePart } from './candidates.ts'
import { decide } from './decide.ts'
import type { Decision, LogRecord } from './effects.ts'
import type { EventQueue } from './event-queue.test.support.ts'
import type { MeasuredSpeed, MembershipEvent } from './events.ts'
import { isAllHeld } from './members.ts'
import { leastWorkers } from './seating.ts'
import { type SimulatedLinks, silentMs } from './simulated-links.test.support.ts'
import { initialState, type MembershipConfig, type MembershipState } from './state.ts'

const tickMs = 100
/** `blameMs`, and what a tick may come late. */
const mostTicksBetween = 5

/** The coordinator's process: the machine, a log that outlives it, its control links; and a watch over what it decides. */
export class SimulatedCoordinator {
  readonly log: LogRecord[] = []
  /** Steps that were mirrored whole. */
  readonly mirrored = new Set<number>()
  /** Each time the run went back to a step that is in memory alone. */
  numBackToMirror = 0
  /** What must not happen, and did. */
  readonly problems: string[] = []
  /** For a closer look at a run that went wrong: hears of each decision. */
  trace: ((line: string) => void) | undefined
  /** Samples a second. */
  speedOf: (workerId: string) => number = () => 1
  state: MembershipState
  isUp = true
  readonly #config: MembershipConfig
  readonly #queue: EventQueue
  readonly #links: () => SimulatedLinks
  #life = 1
  /** Events that have come while the process stands still. */
  #inbox: MembershipEvent[] | undefined
  /** Ticks since which something has waited that could go on. */
  #waited = { afterGeneration: 0, forGeneration: 0, forLeave: 0 }

  constructor(config: MembershipConfig, queue: EventQueue, links: () => SimulatedLinks) {
    this.#config = config
    this.#queue = queue
    this.#links = links
    this.state = initialState(config, queue.nowMs)
    this.#tick(this.#life)
  }

  get hasEnded(): boolean {
    return this.isUp && this.state.phase === 'ended'
  }

  receive(event: MembershipEvent): void {
    if (!this.isUp) return
    if (this.#inbox === undefined) this.#apply(event)
    else this.#inbox.push(event)
  }

  /** Its process ends, and another one starts: only what is in the log survives. */
  restart(downMs: number): void {
    if (!this.isUp) return
    this.isUp = false
    this.#inbox = undefined
    for (const id of this.#links().open) this.#links().break(id, 'the coordinator is gone')
    this.#queue.after(downMs, () => {
      this.#life++
      this.isUp = true
      this.#waited = { afterGeneration: 0, forGeneration: 0, forLeave: 0 }
      this.state = initialState(this.#config, this.#queue.nowMs)
      this.#apply(recoveredFrom(this.log, this.#config))
      this.#tick(this.#life)
    })
  }

  /** Its process stands still. When it moves again, all links that nothing was read from for too long are given up first. */
  freeze(ms: number): void {
    if (!this.isUp || this.#inbox !== undefined) return
    const inbox: MembershipEvent[] = []
    this.#inbox = inbox
    const old = new Set(this.#links().open)
    this.#queue.after(ms, () => {
      if (this.#inbox !== inbox) return
      this.#inbox = undefined
      const given = new Set(ms < silentMs ? [] : this.#links().open.filter(id => old.has(id)))
      for (const id of given) this.#links().break(id, 'silent', true)
      for (const event of inbox) if (!('link' in event) || !given.has(event.link)) this.receive(event)
    })
  }

  #tick(life: number): void {
    if (life !== this.#life || !this.isUp || this.hasEnded) return
    if (this.#inbox === undefined) {
      this.#apply({ type: 'tick' })
      this.#watchWaits()
    }
    this.#queue.after(tickMs, () => this.#tick(life))
  }

  #apply(event: MembershipEvent): void {
    const before = this.state
    const decision = decide(before, event, this.#queue.nowMs)
    this.state = decision.state
    const { committed, checkpoint, mirror, phase } = decision.state
    const isBack = phase === 'preparing' && committed.step < before.committed.step
    if (isBack && committed.step === mirror?.step && committed.step > (checkpoint?.step ?? 0)) this.numBackToMirror++
    this.trace?.(`${this.#queue.nowMs} ms, ${this.state.phase}: ${decision.reason}`)
    const hasFailed = before.phase !== 'ended' && decision.state.outcome?.status === 'failed'
    if (event.type === 'failed' && before.members.length > 1 && hasFailed)
      this.problems.push(`the failure of one of ${before.members.length} ended the run`)
    this.#carryOut(decision)
    const hasCommitted = decision.effects.some(effect => effect.type === 'append' && effect.record.type === 'commit')
    if (hasCommitted && this.#config.shares === 'measured') this.#apply({ type: 'measured', speeds: this.#speeds() })
  }

  /** What the process around the machine has measured. */
  #speeds(): MeasuredSpeed[] {
    return this.state.members.map(({ workerId }) => ({ workerId, samplesPerSecond: this.speedOf(workerId) }))
  }

  #carryOut({ effects, reason }: Decision): void {
    if (reason === '') this.problems.push('a decision without a reason')
    let hasSent = false
    for (const effect of effects) {
      switch (effect.type) {
        case 'append':
        case 'emit':
          if (hasSent) this.problems.push('something was sent before what must be durable')
          if (effect.type === 'append') this.log.push(effect.record)
          else if (effect.event.event === 'mirrored') this.mirrored.add(effect.event.step)
          break
        case 'send':
          hasSent = true
          this.#links().toWorker(effect.link, effect.message)
          break
        case 'broadcast':
          hasSent = true
          for (const link of effect.links) this.#links().toWorker(link, effect.message)
          break
        case 'close':
          this.#links().close(effect.link, effect.reason)
          break
      }
    }
  }

  /** Nothing waits for longer than the machine has reason to. */
  #watchWaits(): void {
    const { state } = this
    const isBetween = state.phase === 'gathering' || state.phase === 'paused'
    const ready = isBetween ? state.members.filter(member => mayTakePart(member, this.#queue.nowMs)) : []
    const canGoOn =
      ready.length >= leastWorkers(state.config) && isAllHeld(state, ready) && state.gathering.expected.length === 0
    const isSame = state.generation === this.#waited.afterGeneration
    this.#waited.forGeneration = canGoOn && isSame ? this.#waited.forGeneration + 1 : 0
    this.#waited.afterGeneration = state.generation
    if (this.#waited.forGeneration === mostTicksBetween)
      this.problems.push(
        `no generation after ${state.generation}, although enough are here who hold step ${state.committed.step}`,
      )
    // Who alone has the last commit is kept until others have it.
    const isElsewhere = isAllHeld(
      state,
      state.members.filter(member => member.leaving === undefined),
    )
    const isKept = state.members.some(member => member.leaving !== undefined && member.rank === undefined)
    this.#waited.forLeave = isKept && isElsewhere && state.phase !== 'ended' ? this.#waited.forLeave + 1 : 0
    if (this.#waited.forLeave === mostTicksBetween)
      this.problems.push('a worker that wants to leave is in no generation, and is not let go')
  }
}

/** What a coordinator that starts again reads from its log. */
function recoveredFrom(log: readonly LogRecord[], config: MembershipConfig): MembershipEvent {
  const generation = log.findLast(record => record.type === 'generation')
  const commits = log.filter(record => record.type === 'commit')
  const commit = commits.findLast(record => record.generation === generation?.generation)
  const step = commit?.step ?? generation?.startStep ?? 0
  const digest =
    commit ??
    log.findLast(record => record.type === 'started' && record.step === step) ??
    commits.findLast(record => record.step === step)
  const checkpoint = log.findLast(record => record.type === 'checkpoint' && record.step <= step)
  return {
    type: 'recovered',
    generation: generation?.generation ?? 0,
    step,
    digests: digest !== undefined && 'digest' in digest ? (digest.digests ?? [digest.digest]) : undefined,
    samplesTo: step * config.globalBatch,
    checkpoint: checkpoint?.type === 'checkpoint' ? { step: checkpoint.step, path: checkpoint.path } : undefined,
    members: membersOf(log, generation),
    untrainedLoss: undefined,
  }
}

/** The members of a generation, with the shares that it ended with. */
function membersOf(log: readonly LogRecord[], generation: Extract<LogRecord, { type: 'generation' }> | undefined) {
  const last = log.findLast(record => record.type === 'shares' && record.generation === generation?.generation)
  const shares = last?.type === 'shares' ? last.shares : undefined
  return (generation?.members ?? []).map(member => ({ ...member, share: shares?.[member.rank] ?? member.share }))
}

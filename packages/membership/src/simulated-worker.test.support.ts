import { digestAfter } from './digest-oracle.test.support.ts'
import type { MembershipEvent } from './events.ts'
import type { CoordinatorMessage, GenerationMember, Vote } from './messages.ts'
import { protocolVersion } from './joining.ts'
import type { HeldState, LinkId, MembershipConfig } from './state.ts'

type Generation = Extract<CoordinatorMessage, { type: 'generation' }>
type WithoutLink<Event> = Event extends unknown ? Omit<Event, 'link'> : never

/** What a worker has around it: time, a network to the coordinator, and its peers. */
export interface Surroundings {
  readonly config: MembershipConfig
  after(ms: number, act: () => void): void
  /** A random delay of at most so many ms. */
  delayMs(most: number): number
  newIncarnation(workerId: string): string
  /** Undefined while the coordinator is down. */
  openLink(worker: SimulatedWorker): LinkId | undefined
  breakLink(link: LinkId, reason: string, isSilent: boolean): void
  send(link: LinkId, event: MembershipEvent): void
  /** Waits for all members at a place; answered by `connected` or `reduced`. */
  enter(worker: SimulatedWorker, generation: number, place: string, members: readonly GenerationMember[]): void
  /** What a peer holds. */
  stateOf(workerId: string, step: number): HeldState
  voteFor(generation: number, state: HeldState): Vote
  assertReachable(worker: SimulatedWorker, begun: number, message: CoordinatorMessage): void
}

/**
 * A worker process in memory that follows the protocol as the real one does. Its parameters are a digest; a step needs all members of the
 * generation; it computes one step beyond the one it has voted for and can undo one.
 */
export class SimulatedWorker {
  readonly workerId: string
  readonly #run: Surroundings
  incarnation: string
  link: string | undefined
  /** Killed, refused for good, or done. */
  isDead = false
  /** Stopped by a signal: it hears nothing and does nothing until it is woken. */
  isStopped = false
  isDone = false
  /** The error that put it out for good. */
  refusal: string | undefined
  state: HeldState | undefined
  former: HeldState | undefined
  generation: Generation | undefined
  #loaded = false
  /** What happens to it while it is stopped, it notices when it is woken. */
  #waiting: (() => void)[] = []
  #committed = 0
  #stopAfter = Number.POSITIVE_INFINITY
  #regroup: { readonly afterStep: number; readonly save: boolean } | undefined
  #reduced = 0
  #entered = 0
  #isStarted = false
  #hasEnded = false

  constructor(run: Surroundings, workerId: string) {
    this.#run = run
    this.workerId = workerId
    this.incarnation = run.newIncarnation(workerId)
  }

  get rank(): number {
    return this.#members.find(member => member.workerId === this.workerId)?.rank ?? -1
  }

  get #members(): readonly GenerationMember[] {
    return this.generation?.members ?? []
  }

  get isAlive(): boolean {
    return !this.isDead && !this.isStopped
  }

  /** Opens a link and asks to be a member. */
  join(): void {
    if (this.isDead || this.isDone || this.link !== undefined) return
    const link = this.#run.openLink(this)
    if (link === undefined) {
      this.#after(500, () => this.join())
      return
    }
    this.link = link
    this.say({
      type: 'joined',
      workerId: this.workerId,
      incarnation: this.incarnation,
      protocol: protocolVersion,
      lane: { host: 'h', port: 1 },
      pid: 1,
      device: { backend: 'cpu', version: '1', threads: 1 },
      holds: [this.state, this.former].flatMap(held => (held === undefined ? [] : [held])),
    })
  }

  say(event: WithoutLink<Extract<MembershipEvent, { link: string }>>): void {
    if (this.link !== undefined) this.#run.send(this.link, { ...event, link: this.link } as MembershipEvent)
  }

  /** The link is gone: the state is kept, and it comes back. */
  linkGone(link: string): void {
    if (link !== this.link) return
    this.link = undefined
    this.#endGeneration()
    if (!this.isDead && !this.isDone) this.#after(200, () => this.join())
  }

  /** Lets it do something, now or when it is awake. */
  awake(act: () => void): void {
    if (this.isDead) return
    if (this.isStopped) this.#waiting.push(act)
    else act()
  }

  wake(): void {
    this.isStopped = false
    for (const act of this.#waiting.splice(0)) this.awake(act)
  }

  /** A peer's lanes broke. */
  lost(generation: number, peerRank: number): void {
    if (this.generation?.generation !== generation) return
    this.#endGeneration()
    const error = {
      code: 'SKEIN_COLLECTIVE_PEER_LOST',
      retry: 'next-generation',
      what: 'reset',
      todo: '-',
      details: {},
    } as const
    this.say({ type: 'peerLost', generation, peerRank, error })
  }

  /** All members have entered the collective of `step`. */
  reduced(generation: number, step: number): void {
    if (this.generation?.generation !== generation) return
    this.#reduced = step
    this.#go()
  }

  /** All members have dialled each other. */
  connected(generation: number): void {
    const message = this.generation
    if (message?.generation !== generation) return
    const { startStep, origin } = message
    if (origin.kind === 'members' && origin.ranks.includes(this.rank)) {
      if (this.state?.step !== startStep) this.state = this.former
      if (this.state?.step !== startStep) throw new Error(`${this.workerId} does not hold step ${startStep}`)
    } else if (origin.kind === 'members') {
      this.state = this.#run.stateOf(this.#members[origin.ranks[0] ?? 0]?.workerId ?? '', startStep)
    } else this.state = { step: startStep, digest: digestAfter(startStep) }
    this.former = undefined
    this.say({ type: 'ready', generation, digest: this.state.digest })
  }

  hear(message: CoordinatorMessage): void {
    if (this.isDead || this.isDone) return
    switch (message.type) {
      case 'welcome':
        if (this.#loaded) this.say({ type: 'loaded', dataFingerprint: 'f', numParams: 1 })
        else
          this.#after(300, () => {
            this.#loaded = true
            this.say({ type: 'loaded', dataFingerprint: 'f', numParams: 1 })
          })
        return
      case 'catch-up':
        this.#after(300, () => this.say({ type: 'caughtUp', holds: [] }))
        return
      case 'generation':
        this.#endGeneration()
        this.generation = message
        this.#committed = message.startStep
        this.#run.enter(this, message.generation, 'connect', message.members)
        return
      case 'abort':
        if (message.generation === this.generation?.generation) this.#endGeneration()
        return
      case 'refuse':
        if (message.error.retry === 'next-generation') {
          this.incarnation = this.#run.newIncarnation(this.workerId)
          const { link } = this
          if (link === undefined) return
          this.#run.breakLink(link, 'gives up', false)
          this.linkGone(link)
        } else {
          this.refusal = message.error.code
          this.isDead = true
        }
        return
      case 'fail':
      case 'finish':
        this.isDone = true
        return
      case 'start':
      case 'commit':
      case 'regroup':
      case 'stop':
        if (message.generation !== this.generation?.generation) return
        if (message.type === 'start') this.#isStarted = true
        if (message.type === 'commit') this.#committed = message.step
        if (message.type === 'stop') this.#stopAfter = message.afterStep
        if (message.type === 'regroup') this.#regroup = message
        this.#run.assertReachable(this, Math.max(this.#entered, this.state?.step ?? 0), message)
        this.#go()
    }
  }

  /** Does what can be done: computing a step needs the one before it here, applying it needs that one's commit. */
  #go(): void {
    const { generation, state } = this
    if (generation === undefined || state === undefined || !this.#isStarted) return
    const { totalSteps } = this.#run.config
    const last = Math.min(totalSteps, this.#stopAfter, this.#regroup?.afterStep ?? totalSteps)
    const next = state.step + 1
    if (state.step < last) {
      if (this.#entered < next) {
        this.#entered = next
        this.#after(60, () => this.#run.enter(this, generation.generation, `step ${next}`, generation.members))
      }
      if (this.#reduced < next || (state.step > generation.startStep && this.#committed < state.step)) return
      this.former = state
      this.state = { step: next, digest: digestAfter(next, state.digest) }
      this.say({ type: 'voted', vote: this.#run.voteFor(generation.generation, this.state) })
      this.#go()
      return
    }
    if (this.#hasEnded || (state.step > generation.startStep && this.#committed < state.step)) return
    this.#hasEnded = true
    const isRegroup = state.step < Math.min(totalSteps, this.#stopAfter)
    const saves = isRegroup ? this.#regroup?.save === true : true
    if (this.rank === 0 && saves) {
      this.say({ type: 'checkpointed', generation: generation.generation, step: state.step, path: `/c/${state.step}` })
    }
    if (!isRegroup) this.say({ type: 'finished', generation: generation.generation, step: state.step, peakRssBytes: 1 })
  }

  #after(mostMs: number, act: () => void): void {
    this.#run.after(this.#run.delayMs(mostMs), () => this.awake(act))
  }

  #endGeneration(): void {
    this.generation = undefined
    this.#isStarted = false
    this.#hasEnded = false
    this.#regroup = undefined
    this.#stopAfter = Number.POSITIVE_INFINITY
    this.#entered = 0
    this.#reduced = 0
  }
}

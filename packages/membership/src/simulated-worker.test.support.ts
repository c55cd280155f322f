import type { ErrorRecord } from '@skein/core'
import { digestAfter } from './digest-oracle.test.support.ts'
import type { MembershipEvent } from './events.ts'
import { protocolVersion } from './joining.ts'
import type { CoordinatorMessage, GenerationMember, Vote } from './messages.ts'
import { SimulatedCatchUp } from './simulated-catch-up.test.support.ts'
import type { LaneOwner } from './simulated-lanes.test.support.ts'
import { SimulatedMirror } from './simulated-mirror.test.support.ts'
import type { LinkOwner } from './simulated-links.test.support.ts'
import type { HeldState, LinkId, MembershipConfig } from './state.ts'

type Generation = Extract<CoordinatorMessage, { type: 'generation' }>
type WithoutLink<Event> = Event extends unknown ? Omit<Event, 'link'> : never

/** Code of a worker's own failure. */
export const testFailure = 'SKEIN_TEST_FAILED'

/** What a worker has around it: time, a network to the coordinator, and its peers. */
export interface Surroundings {
  readonly config: MembershipConfig
  after(ms: number, act: () => void): void
  /** A random delay of at most so many ms. */
  delayMs(most: number): number
  newIncarnation(workerId: string): string
  /** Undefined while the coordinator is down. */
  openLink(worker: SimulatedWorker): LinkId | undefined
  breakLink(link: LinkId, reason: string): void
  send(link: LinkId, event: MembershipEvent): void
  /** Waits for all members at a place; answered by `met`. */
  meet(worker: SimulatedWorker, generation: number, place: string, members: readonly GenerationMember[]): void
  /** What the process behind a lane address holds. */
  stateOf(member: GenerationMember | undefined, part: number, step: number): HeldState | undefined
  /** What it gives to one who waits: undefined where it is gone, or the generation is over there. */
  committedOf(member: GenerationMember, part: number, generation: number): HeldState | undefined
  /** What it keeps of a mirrored step: undefined where it is gone, or has no such copy. */
  copyOf(member: GenerationMember | undefined, part: number, step: number): HeldState | undefined
  /** `share`: [from, to) of the batch. */
  voteFor(generation: number, state: HeldState, share: readonly [number, number]): Vote
  /** The process has ended before its time: the network breaks what was open. */
  ended(worker: SimulatedWorker, reason: string): void
  /** Something that no worker may see. */
  problem(text: string): void
}

/**
 * A worker process in memory that follows the protocol as the real one does. Its parameters are a digest; a step needs all members of the
 * generation; it computes one step beyond the one it has voted for and can undo one.
 */
export class SimulatedWorker implements LinkOwner, LaneOwner {
  readonly workerId: string
  readonly lanePort: number
  readonly #run: Surroundings
  readonly #catchUp: SimulatedCatchUp
  readonly #mirror: SimulatedMirror
  incarnation: string
  link: LinkId | undefined
  /** Killed, refused for good, or failed. */
  isDead = false
  /** Stopped by a signal: it hears nothing and does nothing until it is woken. */
  isStopped = false
  /** Its part is over, as the coordinator says. */
  isDone = false
  /** The error that put it out for good. */
  refusal: ErrorRecord | undefined
  state: HeldState | undefined
  former: HeldState | undefined
  generation: Generation | undefined
  #loaded = false
  #leaving: string | undefined
  /** The next step it makes comes out wrong. */
  #isCorrupt = false
  /** What happens to it while it is stopped, it notices when it is woken. */
  #waiting: (() => void)[] = []
  #committed = 0
  #stopAfter = Number.POSITIVE_INFINITY
  #regroup: { readonly afterStep: number; readonly save: boolean } | undefined
  /** Shares by rank, and the step from which they hold. */
  #shares: { readonly fromStep: number; readonly shares: readonly (number | GenerationMember)[] }[] = []
  /** Its part of the step that it has begun: fixed then, whatever it hears later. */
  #share: readonly [number, number] = [0, 0]
  #reduced = 0
  /** A checkpoint of which its own part is on disk. */
  #whenAllSaved: { readonly step: number; readonly finish: () => void } | undefined
  #entered = 0
  #isStarted = false
  #hasEnded = false

  constructor(run: Surroundings, workerId: string, lanePort: number) {
    this.#run = run
    this.workerId = workerId
    this.lanePort = lanePort
    this.incarnation = run.newIncarnation(workerId)
    this.#mirror = new SimulatedMirror({
      parts: run.config.parts,
      after: (mostMs, act) => this.#after(mostMs, act),
      copyOf: (member, part, step) => run.copyOf(member, part, step),
      onKept: (generation, { step, digests }) => this.say({ type: 'mirrored', generation, step, digests }),
    })
    this.#catchUp = new SimulatedCatchUp({
      held: () => this.#holds,
      after: (mostMs, act) => this.#after(mostMs, act),
      committedOf: (member, part, generation) => run.committedOf(member, part, generation),
      onHeld: (generation, held) => {
        this.state = held[0]
        this.former = held[1]
        this.say({ type: 'caughtUp', generation, holds: held.slice(0, 1) })
      },
      onFailed: generation => {
        const error = {
          code: 'SKEIN_CATCHUP_SOURCES_LOST',
          retry: 'next-generation',
          what: 'silent',
          todo: '-',
        } as const
        this.say({ type: 'catchUpFailed', generation, error: { ...error, details: {} } })
      },
    })
  }

  /** What it gives of a mirrored step, even while it has no place. */
  copy(part: number, step: number): HeldState | undefined {
    return this.isDead || this.isStopped ? undefined : this.#mirror.copy(part, step)
  }

  get generationNumber(): number | undefined {
    return this.generation?.generation
  }

  get rank(): number {
    return this.#members.find(member => member.lane.port === this.lanePort)?.rank ?? -1
  }

  /** Of the model, in its generation. */
  get part(): number {
    return Math.max(0, this.rank) % this.#run.config.parts
  }

  get #members(): readonly GenerationMember[] {
    return this.generation?.members ?? []
  }

  get isAlive(): boolean {
    return !this.isDead && !this.isStopped && !this.isDone
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
      lane: { host: 'h', port: this.lanePort },
      pid: this.lanePort,
      device: { backend: 'cpu', version: '1', threads: 1 },
      holds: this.#holds,
      keeps: this.#mirror.kept,
    })
  }

  get #holds(): HeldState[] {
    if (this.#catchUp.isTorn) return []
    return [this.state, this.former].flatMap(held => (held === undefined ? [] : [held]))
  }

  /** What it gives to those who wait while it trains. */
  committedIn(generation: number): HeldState | undefined {
    if (this.isDead || this.isStopped || this.generation?.generation !== generation) return undefined
    return this.#holds.find(held => held.step === this.#committed)
  }

  say(event: WithoutLink<Extract<MembershipEvent, { link: string }>>): void {
    if (this.link !== undefined) this.#run.send(this.link, { ...event, link: this.link } as MembershipEvent)
  }

  /** Told to go: it says so now, and again after it has come back over another link. */
  leave(reason: string): void {
    this.#leaving = reason
    this.say({ type: 'left', reason })
  }

  /** Breaks by an error of its own, and says so. */
  fail(what: string): void {
    this.say({ type: 'failed', error: { code: testFailure, retry: 'never', what, todo: '-', details: {} } })
    this.end('failed')
  }

  corrupt(): void {
    this.#isCorrupt = true
  }

  /** The process is over. */
  end(reason: string): void {
    if (this.isDead) return
    this.isDead = true
    this.#run.ended(this, reason)
  }

  /** The link is gone: the state is kept, and it comes back. */
  linkGone(link: LinkId): void {
    if (link !== this.link) return
    this.link = undefined
    this.#endGeneration()
    if (!this.isDead && !this.isDone) this.#after(200, () => this.join())
  }

  awake(act: () => void): void {
    if (this.isDead) return
    if (this.isStopped) this.#waiting.push(act)
    else act()
  }

  wake(): void {
    this.isStopped = false
    for (const act of this.#waiting.splice(0)) this.awake(act)
  }

  lostPeer(generation: number, peerRank: number): void {
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

  met(generation: number, place: string): void {
    if (this.generation?.generation !== generation) return
    if (place === 'connect') this.#restore(this.generation)
    else {
      this.#reduced = Number(place.slice('step '.length))
      this.#go()
    }
  }

  /** The state that the generation begins with: its own, a peer's, the checkpoint's or the seed's. */
  #restore({ generation, startStep, origin, members }: Generation): void {
    const { rank, part } = this
    if (origin.kind !== 'members') {
      this.#begin(generation, { part, step: startStep, digest: digestAfter(part, startStep) })
      return
    }
    if (origin.ranks.includes(rank)) {
      const held =
        this.#holds.find(state => state.step === startStep && state.part === part) ?? this.#mirror.copy(part, startStep)
      if (held === undefined) this.#run.problem(`${this.workerId} was taken to hold part ${part} of step ${startStep}`)
      else this.#begin(generation, held)
      return
    }
    const copies = origin.copies?.find(one => one.part === part)
    const source = copies?.ranks[0] ?? origin.ranks.find(one => one % this.#run.config.parts === part)
    if (source === undefined) this.#run.problem(`nobody holds part ${part} of step ${startStep}`)
    // From here on what it had is torn.
    this.state = undefined
    this.former = undefined
    this.#after(100, () => {
      if (this.generation?.generation !== generation) return
      const from = members[source ?? -1]
      const got =
        copies === undefined ? this.#run.stateOf(from, part, startStep) : this.#run.copyOf(from, part, startStep)
      // Where the source is gone, the loss of its lanes says so.
      if (got !== undefined) this.#begin(generation, got)
    })
  }

  #begin(generation: number, state: HeldState): void {
    this.state = state
    this.former = undefined
    this.#catchUp.restored()
    this.say({ type: 'ready', generation, digest: state.digest })
  }

  hear(link: LinkId, message: CoordinatorMessage): void {
    if (link !== this.link || this.isDone) return
    switch (message.type) {
      case 'welcome':
        this.#after(this.#loaded ? 1 : 300, () => {
          this.#loaded = true
          if (link !== this.link) return
          this.say({ type: 'loaded', dataFingerprint: 'f', numParams: 1 })
          if (this.#leaving !== undefined) this.say({ type: 'left', reason: this.#leaving })
        })
        return
      case 'catch-up':
        this.#mirror.hasPart(message.part)
        this.#catchUp.begin(message)
        return
      case 'generation':
        this.#endGeneration()
        this.#catchUp.taken()
        this.generation = message
        this.#mirror.hasPart(this.part)
        this.#mirror.isWhole(message.mirrored)
        this.#shares = [{ fromStep: message.startStep + 1, shares: message.members }]
        this.#committed = message.startStep
        this.#run.meet(this, message.generation, 'connect', message.members)
        return
      case 'abort':
        if (message.generation === this.generation?.generation) this.#endGeneration()
        return
      case 'refuse':
        if (message.error.retry === 'next-generation') {
          this.incarnation = this.#run.newIncarnation(this.workerId)
          this.#run.breakLink(link, 'gives up')
          this.linkGone(link)
        } else {
          this.refusal = message.error
          this.end('refused')
        }
        return
      case 'fail':
      case 'finish':
        this.isDone = true
        this.#run.breakLink(link, 'its part is over')
        return
      case 'mirror-whole':
        this.#mirror.isWhole(message.step)
        return
      case 'start':
      case 'commit':
      case 'regroup':
      case 'shares':
      case 'checkpoint-parts':
      case 'stop':
        if (message.generation !== this.generation?.generation) return
        if (message.type === 'start') {
          this.#isStarted = true
        }
        if ((message.type === 'start' || message.type === 'commit') && message.mirror) this.#takeMirror(message.step)
        if (message.type === 'commit') this.#committed = message.step
        if (message.type === 'stop' || message.type === 'regroup') this.#assertReachable(message.afterStep)
        if (message.type === 'shares') {
          this.#assertReachable(message.fromStep - 1)
          this.#shares.push(message)
        }
        if (message.type === 'checkpoint-parts') this.#partsSaved(message)
        if (message.type === 'stop') this.#stopAfter = message.afterStep
        if (message.type === 'regroup') this.#regroup = message
        this.#go()
    }
  }

  /** An announced end must be one that nobody is past. */
  #assertReachable(afterStep: number): void {
    const begun = Math.max(this.#entered, this.state?.step ?? 0)
    if (begun > afterStep)
      this.#run.problem(`${this.workerId} has begun step ${begun} when told to end after ${afterStep}`)
  }

  #shareAt(step: number): readonly [number, number] {
    const shares = this.#shares.findLast(({ fromStep }) => fromStep <= step)?.shares ?? []
    const { parts } = this.#run.config
    const ends = endsOf(shares, parts)
    const replica = Math.floor(this.rank / parts)
    return [ends[replica - 1] ?? 0, ends[replica] ?? 0]
  }

  /** Does what can be done: computing a step needs the one before it here, applying it needs that one's commit. */
  #go(): void {
    const { generation, state } = this
    if (generation === undefined || state === undefined || !this.#isStarted) return
    const { totalSteps } = this.#run.config
    const last = Math.min(totalSteps, this.#stopAfter, this.#regroup?.afterStep ?? totalSteps)
    const isCommitted = state.step === generation.startStep || this.#committed >= state.step
    const next = state.step + 1
    if (state.step < last) {
      if (this.#entered < next) {
        this.#entered = next
        this.#share = this.#shareAt(next)
        this.#after(60, () => this.#run.meet(this, generation.generation, `step ${next}`, generation.members))
      }
      if (!isCommitted) return
      if (this.#reduced < next) return
      this.former = state
      // Alone with its part it would be the majority.
      const isWrong = this.#isCorrupt && this.#members.length > this.#run.config.parts
      if (isWrong) this.#isCorrupt = false
      const { part } = state
      this.state = { part, step: next, digest: isWrong ? `flipped${next}` : digestAfter(part, next, state.digest) }
      this.say({ type: 'voted', vote: this.#run.voteFor(generation.generation, this.state, this.#share) })
      this.#go()
      return
    }
    if (this.#hasEnded || !isCommitted) return
    this.#hasEnded = true
    const isRegroup = state.step < Math.min(totalSteps, this.#stopAfter)
    const { parts } = this.#run.config
    const saves = this.rank < parts && (!isRegroup || this.#regroup?.save === true)
    const { step } = state
    const number = generation.generation
    const finish = () => {
      if (!isRegroup) this.say({ type: 'finished', generation: number, step, peakRssBytes: 1 })
    }
    this.#after(saves ? 100 : 10, () => {
      if (saves && parts > 1) this.say({ type: 'checkpointPart', generation: number, step })
      if (!saves || (parts > 1 && this.rank > 0)) return finish()
      if (parts > 1) this.#whenAllSaved = { step, finish }
      else this.#checkpointed(number, step, finish)
    })
  }

  #takeMirror(step: number): void {
    const { generation, state, rank } = this
    if (state?.step !== step)
      this.#run.problem(`${this.workerId} is to mirror step ${step}, and has step ${state?.step}`)
    else if (generation !== undefined) this.#mirror.take(state, { ...generation, rank })
  }

  #partsSaved({ generation, step, isWhole }: Extract<CoordinatorMessage, { type: 'checkpoint-parts' }>): void {
    if (this.rank !== 0 || this.#whenAllSaved?.step !== step || !isWhole)
      this.#run.problem(`${this.workerId} is told of parts of step ${step} that it has not saved`)
    else this.#checkpointed(generation, step, this.#whenAllSaved.finish)
  }

  #checkpointed(generation: number, step: number, finish: () => void): void {
    this.say({ type: 'checkpointed', generation, step, path: `/c/${step}` })
    finish()
  }

  #after(mostMs: number, act: () => void): void {
    this.#run.after(this.#run.delayMs(mostMs), () => this.awake(act))
  }

  #endGeneration(): void {
    this.#mirror.stop()
    this.generation = undefined
    this.#isStarted = false
    this.#hasEnded = false
    this.#regroup = undefined
    this.#whenAllSaved = undefined
    this.#stopAfter = Number.POSITIVE_INFINITY
    this.#entered = 0
    this.#reduced = 0
  }
}

const knownEnds = new WeakMap<readonly (number | GenerationMember)[], readonly number[]>()

/** Where each replica's share of the batch ends: added up once for a message that ten thousand hear. */
function endsOf(shares: readonly (number | GenerationMember)[], parts: number): readonly number[] {
  const known = knownEnds.get(shares)
  if (known !== undefined) return known
  let end = 0
  const ofReplicas = shares.filter((_, rank) => rank % parts === 0)
  const ends = ofReplicas.map(one => (end += typeof one === 'number' ? one : one.share))
  knownEnds.set(shares, ends)
  return ends
}

import { type Random, seededRandom } from '@skein/core'
import { decide } from './decide.ts'
import type { Decision, LogRecord } from './effects.ts'
import { batch } from './digest-oracle.test.support.ts'
import { EventQueue } from './event-queue.test.support.ts'
import type { MembershipEvent } from './events.ts'
import type { CoordinatorMessage, GenerationMember, Vote } from './messages.ts'
import { SimulatedWorker, type Surroundings } from './simulated-worker.test.support.ts'
import {
  defaultDeadlines,
  type HeldState,
  initialState,
  type LinkId,
  type MembershipConfig,
  type MembershipState,
} from './state.ts'

export const configOf = (given: Partial<MembershipConfig> = {}): MembershipConfig => ({
  runId: 'r',
  runDir: '/r',
  job: {},
  numWorkers: 4,
  minWorkers: 1,
  maxWorkers: 8,
  globalBatch: batch,
  totalSteps: 20,
  laneSecret: 's',
  deadlines: defaultDeadlines,
  ...given,
})

interface Link {
  readonly worker: SimulatedWorker
  isOpen: boolean
  /** Nothing is overtaken: when the last message in each direction arrives. */
  lastIn: number
  lastOut: number
}

const tickMs = 100
const silentMs = 5_000

/**
 * A run under a simulated network: one coordinator (the pure machine and a durable log), workers, delays, broken links, deaths, stops and
 * partitions, all drawn from one seed.
 */
export class SimulatedRun implements Surroundings {
  readonly config: MembershipConfig
  readonly random: Random
  readonly workers: SimulatedWorker[] = []
  /** All that is durable, over the lives of the coordinator. */
  readonly log: LogRecord[] = []
  readonly problems: string[] = []
  state: MembershipState
  isUp = true
  lives = 1
  readonly #queue = new EventQueue()
  readonly #links = new Map<LinkId, Link>()
  readonly #entered = new Map<string, Set<SimulatedWorker>>()
  readonly #partitions = new Map<string, readonly [SimulatedWorker, SimulatedWorker]>()
  readonly #dead = new Set<SimulatedWorker>()
  /** The youngest process of each name. */
  readonly #newest = new Map<string, SimulatedWorker>()
  readonly #ranks = new WeakMap<readonly GenerationMember[], ReadonlyMap<string, number>>()
  #names = 0

  constructor(config: MembershipConfig, seed: number) {
    this.config = config
    this.random = seededRandom(seed)
    this.state = initialState(config, 0)
    this.#tick(this.lives)
  }

  get nowMs(): number {
    return this.#queue.nowMs
  }

  start(workerId: string): SimulatedWorker {
    const worker = new SimulatedWorker(this, workerId)
    this.workers.push(worker)
    this.#newest.set(workerId, worker)
    worker.join()
    return worker
  }

  after(ms: number, run: () => void): void {
    this.#queue.after(ms, run)
  }

  delayMs(most: number): number {
    return 1 + this.random.nextInt(most)
  }

  newIncarnation(workerId: string): string {
    return `${workerId}/${++this.#names}`
  }

  /** Lets things happen until the run has ended, or `limitMs` have passed. */
  play(limitMs: number): void {
    while (!this.#queue.isEmpty && this.nowMs < limitMs && !(this.isUp && this.state.phase === 'ended'))
      this.#queue.step()
  }

  openLink(worker: SimulatedWorker): LinkId | undefined {
    if (!this.isUp) return undefined
    const id = `link-${++this.#names}`
    this.#links.set(id, { worker, isOpen: true, lastIn: 0, lastOut: 0 })
    return id
  }

  send(id: LinkId, event: MembershipEvent): void {
    const link = this.#links.get(id)
    if (link === undefined || !link.isOpen) return
    link.lastIn = Math.max(link.lastIn, this.nowMs + this.delayMs(20))
    const { lives } = this
    this.after(link.lastIn - this.nowMs, () => {
      if (this.lives === lives && this.isUp && link.isOpen) this.#apply(event)
    })
  }

  /** Both ends notice; what is under way is lost. */
  breakLink(id: LinkId, reason: string, isSilent: boolean): void {
    const link = this.#links.get(id)
    if (link === undefined || !link.isOpen) return
    link.isOpen = false
    const { lives } = this
    this.after(this.delayMs(10), () => {
      if (this.lives === lives && this.isUp) this.#apply({ type: 'linkLost', link: id, reason, isSilent })
    })
    this.after(this.delayMs(10), () => link.worker.awake(() => link.worker.linkGone(id)))
  }

  /** The process is gone: its links and lanes break. */
  kill(worker: SimulatedWorker): void {
    if (worker.isDead) return
    worker.isDead = true
    this.#dead.add(worker)
    if (worker.link !== undefined) this.breakLink(worker.link, 'reset', false)
    this.#breakLanes(worker)
  }

  /** Nothing moves in the process; its sockets stay open until somebody loses patience. */
  stop(worker: SimulatedWorker, ms: number): void {
    if (!worker.isAlive) return
    worker.isStopped = true
    const { link } = worker
    this.after(silentMs, () => {
      if (worker.isStopped && link !== undefined && link === worker.link) this.breakLink(link, 'silent', true)
    })
    this.after(ms, () => {
      if (!worker.isDead) worker.wake()
    })
  }

  /** The two lose their lanes, and get none for a while. */
  partition(a: SimulatedWorker, b: SimulatedWorker, ms: number): void {
    const key = pairOf(a, b)
    this.#partitions.set(key, [a, b])
    this.after(ms, () => this.#partitions.delete(key))
    const generation = a.generation?.generation
    if (generation === undefined || b.generation?.generation !== generation) return
    const [rankA, rankB] = [a.rank, b.rank]
    this.after(this.delayMs(50), () => a.awake(() => a.lost(generation, rankB)))
    this.after(this.delayMs(50), () => b.awake(() => b.lost(generation, rankA)))
  }

  /** Only what is in the log survives. */
  restartCoordinator(downMs: number): void {
    if (!this.isUp) return
    this.isUp = false
    for (const id of this.#links.keys()) this.breakLink(id, 'the coordinator is gone', false)
    this.#links.clear()
    this.after(downMs, () => {
      this.lives++
      this.isUp = true
      this.state = initialState(this.config, this.nowMs)
      this.#apply(recoveredFrom(this.log, this.config))
      this.#tick(this.lives)
    })
  }

  /** A member has come to a place where all of its generation meet. */
  enter(worker: SimulatedWorker, generation: number, place: string, members: readonly GenerationMember[]): void {
    if (worker.generation?.generation !== generation) return
    const key = `${generation} ${place}`
    const here = this.#entered.get(key) ?? new Set()
    this.#entered.set(key, here.add(worker))
    const rankOf = (peer: SimulatedWorker) => this.#ranksOf(members).get(peer.workerId)
    for (const dead of this.#dead) {
      const rank = rankOf(dead)
      if (rank === undefined || this.#newest.get(dead.workerId) !== dead) continue
      this.after(this.delayMs(20), () => worker.awake(() => worker.lost(generation, rank)))
      return
    }
    for (const pair of this.#partitions.values()) {
      if (!pair.includes(worker)) continue
      const rank = rankOf(pair[0] === worker ? pair[1] : pair[0])
      if (rank === undefined) continue
      this.after(this.delayMs(200), () => worker.awake(() => worker.lost(generation, rank)))
      return
    }
    if (here.size < members.length) return
    this.#entered.delete(key)
    for (const peer of here) {
      const go = () =>
        place === 'connect' ? peer.connected(generation) : peer.reduced(generation, Number(place.slice(5)))
      this.after(this.delayMs(10), () => peer.awake(go))
    }
  }

  /** What a member that lacks the state gets from one that holds it. */
  stateOf(workerId: string, step: number): HeldState {
    const source = this.workers.find(worker => worker.workerId === workerId && !worker.isDead)
    const held = [source?.state, source?.former].find(one => one?.step === step)
    return held ?? { step, digest: 'lost on the way' }
  }

  voteFor(generation: number, { step, digest }: HeldState): Vote {
    return {
      generation,
      step,
      digest,
      loss: 1,
      samples: [(step - 1) * batch, step * batch],
      tokens: 1,
      stepMs: 1,
      computeMs: 1,
      commMs: 1,
      waitMs: 1,
      bytesSent: 1,
      rssBytes: 1,
      liveTensors: 1,
    }
  }

  /** An announced end must be one that nobody is past. */
  assertReachable(worker: SimulatedWorker, begun: number, message: CoordinatorMessage): void {
    if ((message.type === 'regroup' || message.type === 'stop') && begun > message.afterStep) {
      this.problems.push(`${worker.workerId} has begun step ${begun} when told to end after ${message.afterStep}`)
    }
  }

  request(reason: string): void {
    if (this.isUp) this.#apply({ type: 'stopRequested', reason })
  }

  #ranksOf(members: readonly GenerationMember[]): ReadonlyMap<string, number> {
    const known = this.#ranks.get(members)
    if (known !== undefined) return known
    const ranks = new Map(members.map(member => [member.workerId, member.rank]))
    this.#ranks.set(members, ranks)
    return ranks
  }

  #breakLanes(worker: SimulatedWorker): void {
    const { generation } = worker
    if (generation === undefined) return
    const { rank } = worker
    for (const peer of this.workers) {
      this.after(this.delayMs(20), () => peer.awake(() => peer.lost(generation.generation, rank)))
    }
  }

  #tick(life: number): void {
    if (life !== this.lives || !this.isUp) return
    this.#apply({ type: 'tick' })
    this.after(tickMs, () => this.#tick(life))
  }

  #apply(event: MembershipEvent): void {
    const decision = decide(this.state, event, this.nowMs)
    this.state = decision.state
    this.#carryOut(decision)
  }

  #carryOut({ effects, reason }: Decision): void {
    if (reason === '') this.problems.push('a decision without a reason')
    let hasSent = false
    for (const effect of effects) {
      switch (effect.type) {
        case 'append':
          if (hasSent) this.problems.push('something was sent before what must be durable')
          this.log.push(effect.record)
          break
        case 'emit':
          break
        case 'send':
          hasSent = true
          this.#deliver(effect.link, effect.message)
          break
        case 'broadcast':
          hasSent = true
          for (const link of effect.links) this.#deliver(link, effect.message)
          break
        case 'close': {
          const link = this.#links.get(effect.link)
          // After what was sent on it.
          if (link !== undefined)
            this.after(link.lastOut - this.nowMs + 1, () => this.breakLink(effect.link, 'closed', false))
          break
        }
      }
    }
  }

  #deliver(id: LinkId, message: CoordinatorMessage): void {
    const link = this.#links.get(id)
    if (link === undefined || !link.isOpen) return
    link.lastOut = Math.max(link.lastOut, this.nowMs + this.delayMs(20))
    this.after(link.lastOut - this.nowMs, () => {
      const { worker } = link
      worker.awake(() => {
        if (worker.link === id) worker.hear(message)
      })
    })
  }
}

const pairOf = (a: SimulatedWorker, b: SimulatedWorker): string => [a.workerId, b.workerId].sort().join(' ')

/** What a coordinator that starts again reads from its log. */
export function recoveredFrom(log: readonly LogRecord[], config: MembershipConfig): MembershipEvent {
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
    digest: digest !== undefined && 'digest' in digest ? digest.digest : undefined,
    samplesTo: step * config.globalBatch,
    checkpoint: checkpoint?.type === 'checkpoint' ? { step: checkpoint.step, path: checkpoint.path } : undefined,
    members: generation?.members ?? [],
    untrainedLoss: undefined,
  }
}

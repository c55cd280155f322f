import { type Random, seededRandom } from '@skein/core'
import { batch } from './digest-oracle.test.support.ts'
import { EventQueue } from './event-queue.test.support.ts'
import type { MembershipEvent } from './events.ts'
import type { GenerationMember, Vote } from './messages.ts'
import { SimulatedCoordinator } from './simulated-coordinator.test.support.ts'
import { SimulatedLanes } from './simulated-lanes.test.support.ts'
import { SimulatedLinks, silentMs } from './simulated-links.test.support.ts'
import { SimulatedWorker, type Surroundings } from './simulated-worker.test.support.ts'
import { defaultDeadlines, type HeldState, type LinkId, type MembershipConfig, type MembershipState } from './state.ts'

export const configOf = (given: Partial<MembershipConfig> = {}): MembershipConfig => ({
  runId: 'r',
  runDir: '/r',
  job: {},
  parts: 1,
  replicas: undefined,
  numWorkers: 4,
  minWorkers: 1,
  maxWorkers: 8,
  globalBatch: batch,
  shares: 'equal',
  totalSteps: 20,
  mirrorEvery: 0,
  laneSecret: 's',
  deadlines: defaultDeadlines,
  ...given,
})

/** More events than this for each worker within a second of simulated time are not one life, but a circle. */
const mostPerSecond = 2_000

/**
 * A run in discrete time: one coordinator (the pure machine and a durable log), workers, the network between them, and what can go wrong
 * with each. All that is random comes from one seed.
 */
export class SimulatedRun implements Surroundings {
  readonly config: MembershipConfig
  readonly random: Random
  /** Every process there has been, in the order of their starts. */
  readonly workers: SimulatedWorker[] = []
  readonly coordinator: SimulatedCoordinator
  readonly #queue = new EventQueue()
  readonly #links: SimulatedLinks
  readonly #lanes: SimulatedLanes
  readonly #byPort = new Map<number, SimulatedWorker>()
  #incarnations = 0

  constructor(config: MembershipConfig, seed: number) {
    this.config = config
    this.random = seededRandom(seed)
    const delayMs = (most: number) => this.delayMs(most)
    this.#links = new SimulatedLinks(this.#queue, delayMs, event => this.coordinator.receive(event))
    this.#lanes = new SimulatedLanes(this.#queue, delayMs)
    this.coordinator = new SimulatedCoordinator(config, this.#queue, () => this.#links)
  }

  get nowMs(): number {
    return this.#queue.nowMs
  }

  get state(): MembershipState {
    return this.coordinator.state
  }

  /** Lets things happen until the run has ended and all have heard so, or `limitMs` have passed. */
  play(limitMs: number): void {
    let endMs = limitMs
    let sinceMs = 0
    let numHappened = 0
    while (!this.#queue.isEmpty && this.nowMs < endMs) {
      this.#queue.step()
      if (this.nowMs - sinceMs > 1_000) {
        sinceMs = this.nowMs
        numHappened = 0
      }
      if (++numHappened > this.workers.length * mostPerSecond) {
        this.problem(`something goes round in circles at ${this.nowMs} ms`)
        return
      }
      if (endMs === limitMs && this.coordinator.hasEnded) endMs = Math.min(limitMs, this.nowMs + 1_000)
    }
  }

  start(workerId: string): SimulatedWorker {
    const worker = new SimulatedWorker(this, workerId, this.workers.length + 1)
    this.workers.push(worker)
    this.#byPort.set(worker.lanePort, worker)
    worker.join()
    return worker
  }

  /** Ends the process without a word. */
  kill(worker: SimulatedWorker): void {
    worker.end('killed')
  }

  /** Nothing moves in the process; its sockets stay open until the coordinator loses patience. */
  stop(worker: SimulatedWorker, ms: number): void {
    if (!worker.isAlive) return
    worker.isStopped = true
    const { link } = worker
    this.after(silentMs, () => {
      if (worker.isStopped && link !== undefined && link === worker.link) this.#links.break(link, 'silent', true)
    })
    this.after(ms, () => worker.wake())
  }

  /** Its connection to the coordinator breaks; at both ends, or only at its own. */
  cutOff(worker: SimulatedWorker, isSeenByBoth: boolean): void {
    if (worker.link === undefined) return
    if (isSeenByBoth) this.#links.break(worker.link, 'reset')
    else this.#links.breakWorkerEnd(worker.link)
  }

  /** `from` loses its lanes with `to` and gets none for a while; with `isTwoWay` the other as well. */
  partition(from: SimulatedWorker, to: SimulatedWorker, ms: number, isTwoWay: boolean): void {
    if (from === to) return
    this.#lanes.cut(from, to, to.rank, ms)
    if (isTwoWay) this.#lanes.cut(to, from, from.rank, ms)
  }

  requestStop(reason: string): void {
    this.coordinator.receive({ type: 'stopRequested', reason })
  }

  after(ms: number, act: () => void): void {
    this.#queue.after(ms, act)
  }

  delayMs(most: number): number {
    return 1 + this.random.nextInt(most)
  }

  newIncarnation(workerId: string): string {
    return `${workerId}/${++this.#incarnations}`
  }

  openLink(worker: SimulatedWorker): LinkId | undefined {
    return this.coordinator.isUp ? this.#links.add(worker) : undefined
  }

  breakLink(link: LinkId, reason: string): void {
    this.#links.break(link, reason)
  }

  send(link: LinkId, event: MembershipEvent): void {
    this.#links.toCoordinator(link, event)
  }

  meet(worker: SimulatedWorker, generation: number, place: string, members: readonly GenerationMember[]): void {
    this.#lanes.meet(worker, generation, place, members)
  }

  stateOf(member: GenerationMember | undefined, part: number, step: number): HeldState | undefined {
    const source = member === undefined ? undefined : this.#byPort.get(member.lane.port)
    if (source === undefined || source.isDead) return undefined
    return [source.state, source.former].find(state => state?.step === step && state.part === part)
  }

  copyOf(member: GenerationMember | undefined, part: number, step: number): HeldState | undefined {
    return member === undefined ? undefined : this.#byPort.get(member.lane.port)?.copy(part, step)
  }

  committedOf(member: GenerationMember, part: number, generation: number): HeldState | undefined {
    if (member.rank % this.config.parts !== part) return undefined
    return this.#byPort.get(member.lane.port)?.committedIn(generation)
  }

  voteFor(generation: number, { step, digest }: HeldState, [from, to]: readonly [number, number]): Vote {
    return {
      generation,
      step,
      digest,
      loss: 1,
      samples: [(step - 1) * batch, step * batch],
      took: [(step - 1) * batch + from, (step - 1) * batch + to],
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

  /** A process that ends closes its link after what it has said; its lanes break at once. */
  ended(worker: SimulatedWorker, reason: string): void {
    const { link, generationNumber, rank } = worker
    if (link !== undefined) this.after(30, () => this.#links.break(link, reason))
    this.#lanes.died(worker, this.workers, generationNumber, rank)
  }

  problem(text: string): void {
    this.coordinator.problems.push(text)
  }
}

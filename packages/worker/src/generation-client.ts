import { type Deferred, deferred, partOf, replicaOf, type SkeinError } from '@skein/core'
import { type GroupAnswer, RemoteGroup, type TensorRegion } from '@skein/collective'
import type { StateSlots } from '@skein/catchup'
import type { Region } from '@skein/simd'
import { type EvaluationReport, type Peers, shareOf, type StepReport } from '@skein/trainer'
import { isCompute, isCopy, isVocabulary, type TimedOp } from '@skein/schedule'
import { type CoordinatorMessage, maxTimedOps, type TimedOpRecord } from '@skein/wire'
import type { GroupPlace, ToComm, ToDevice } from './thread-messages.ts'

export type GenerationMessage = Extract<CoordinatorMessage, { type: 'generation' }>

/** What the coordinator says within a generation. */
type WithinGeneration = Extract<
  CoordinatorMessage,
  { type: 'start' | 'commit' | 'regroup' | 'shares' | 'checkpoint-parts' | 'mirror-whole' | 'stop' }
>

/**
 * One generation as the device thread sees it: turns messages of the comm thread into promises. One failure ends everything that
 * waits, now and later, with the same error.
 */
export class GenerationClient implements Peers {
  readonly rank: number
  readonly worldSize: number
  /** Of the model; replicas are so many ranks each. */
  readonly parts: number
  readonly part: number
  readonly replica: number
  readonly generation: number
  readonly #post: (message: ToComm) => void
  readonly #atPiece: () => number
  readonly #groups = new Map<number, RemoteGroup>()
  readonly #connected = deferred<void>()
  readonly #restored = deferred<void>()
  readonly #started = deferred<void>()
  readonly #over = deferred<never>()
  readonly #commits = new Map<number, Deferred<void>>()
  readonly #saves = new Map<number, Deferred<boolean>>()
  /** Shares by rank, and the step from which they hold; the newest last. */
  readonly #shares: { readonly fromStep: number; readonly shares: readonly number[] }[]
  #committedStep: number
  #mirrored: number | undefined
  #toMirror: number | undefined
  #stopAfter: number | undefined
  #regroup: { readonly step: number; readonly saves: boolean } | undefined
  #failure: SkeinError | undefined

  /**
   * `atPiece` is called before each piece of work, and says the number of the last generation that the comm thread knows to be over: so this
   * thread shows that it moves, and hears of an end, without waiting for a message.
   */
  constructor(message: GenerationMessage, workerId: string, post: (message: ToComm) => void, atPiece: () => number) {
    const { generation, parts, members, startStep } = message
    this.rank = members.find(member => member.workerId === workerId)?.rank ?? -1
    this.worldSize = members.length
    this.parts = parts
    this.part = partOf(this.rank, parts)
    this.replica = replicaOf(this.rank, parts)
    this.generation = generation
    this.#shares = [{ fromStep: startStep + 1, shares: members.map(member => member.share) }]
    this.#post = post
    this.#atPiece = atPiece
    this.#committedStep = startStep
    this.#mirrored = message.mirrored
    this.#addGroup(0, this.rank, this.worldSize)
    // A failure may come while nobody waits: these promises must not count as unhandled then.
    for (const { promise } of [this.#connected, this.#restored, this.#started, this.#over])
      promise.catch(() => undefined)
  }

  /** Rejects when the generation is over before its time; never resolves. */
  get over(): Promise<never> {
    return this.#over.promise
  }

  /** Opens the lanes of these groups, the first of which is that of all members; they may use their scratch until the generation is over. */
  async connect(memory: WebAssembly.Memory, groups: readonly GroupPlace[]): Promise<void> {
    for (const { number, ranks } of groups) {
      if (number > 0) this.#addGroup(number, ranks.indexOf(this.rank), ranks.length)
    }
    this.#post({ type: 'connect', generation: this.generation, memory, groups })
    await this.#connected.promise
  }

  /** That of all members is 0; others are there from `connect` on. */
  get groups(): ReadonlyMap<number, RemoteGroup> {
    return this.#groups
  }

  get world(): RemoteGroup {
    return this.#groups.get(0) as RemoteGroup
  }

  /** Gets the state after `step` from those who hold it into one of the slots, which nobody else touches meanwhile. */
  async restore(step: number): Promise<void> {
    this.#post({ type: 'restore', generation: this.generation, step })
    await this.#restored.promise
  }

  /** The last step of which all keep copies. */
  get mirrored(): number | undefined {
    return this.#mirrored
  }

  /** Whether the coordinator has asked for copies of the state after `step`. */
  isToMirror(step: number): boolean {
    return step === this.#toMirror
  }

  /** Tells that the state after `step` is copied there, for the neighbour that keeps it as well. */
  mirror(step: number, slots: StateSlots): void {
    this.#post({ type: 'mirror', generation: this.generation, step, slots })
  }

  /** Tells that the state after `step` is in `params`; resolves when all members have it. */
  async ready(params: Region, step: number): Promise<void> {
    this.#post({ type: 'ready', generation: this.generation, params, step })
    await this.#started.promise
  }

  shareAt(step: number): readonly [number, number] {
    const { shares } = this.#shares.findLast(({ fromStep }) => fromStep <= step) ?? { shares: [] }
    // All parts of a replica take its share.
    return shareOf(
      shares.filter((_, rank) => partOf(rank, this.parts) === 0),
      this.replica,
    )
  }

  check(): void {
    // The message that says why comes a moment later: this thread was busy.
    if (this.#failure !== undefined) throw this.#failure
    if (this.#atPiece() >= this.generation) throw new GenerationIsOver()
  }

  allReduce(region: Region) {
    return this.world.allReduce(float32Of(region))
  }

  vote(report: StepReport): void {
    this.#post({ type: 'vote', generation: this.generation, report })
  }

  committed(step: number): Promise<void> {
    if (step <= this.#committedStep) return Promise.resolve()
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    let waiting = this.#commits.get(step)
    if (waiting === undefined) {
      waiting = deferred<void>()
      waiting.promise.catch(() => undefined)
      this.#commits.set(step, waiting)
    }
    return waiting.promise
  }

  stopAfter(): number | undefined {
    return this.#stopAfter
  }

  regroupAfter() {
    return this.#regroup
  }

  /** Times in ms of the system clock. */
  tellTimeline(step: number, ops: readonly TimedOp[]): void {
    const records = ops.slice(0, maxTimedOps).flatMap(({ op, start, end }): TimedOpRecord[] => {
      const times = { start: performance.timeOrigin + start, end: performance.timeOrigin + end }
      if (isVocabulary(op)) return [{ op: op.op, microbatch: op.microbatch, ...times }]
      if (!isCompute(op) && !isCopy(op)) return []
      const { stage, microbatch, slice } = op
      return [{ op: op.op, stage, microbatch, ...(slice === undefined ? {} : { slice }), ...times }]
    })
    this.#post({ type: 'tell', message: { type: 'timeline', generation: this.generation, step, ops: records } })
  }

  evaluated(report: EvaluationReport): void {
    this.#post({ type: 'tell', message: { type: 'evaluated', generation: this.generation, ...report } })
  }

  /** What came from the comm thread for this generation. */
  receive(message: Extract<ToDevice, { type: 'connected' | 'restored' | GroupAnswer['type'] }>): void {
    if (message.type === 'connected') this.#connected.resolve()
    else if (message.type === 'restored') this.#restored.resolve()
    else this.#groups.get(message.group)?.receive(message)
  }

  /** Tells that this rank's part of the state after `step` is on disk. */
  partSaved(step: number): void {
    this.#post({ type: 'tell', message: { type: 'checkpoint-part', generation: this.generation, step } })
  }

  /** For rank 0: whether all parts of the state after `step` are on disk; false also where the generation is over before that is known. */
  allPartsSaved(step: number): Promise<boolean> {
    if (this.#failure !== undefined) return Promise.resolve(false)
    return this.#savedAt(step).promise
  }

  #savedAt(step: number): Deferred<boolean> {
    let saved = this.#saves.get(step)
    if (saved === undefined) {
      saved = deferred<boolean>()
      this.#saves.set(step, saved)
    }
    return saved
  }

  hear(message: WithinGeneration): void {
    switch (message.type) {
      case 'start':
        if (message.mirror) this.#toMirror = message.step
        this.#started.resolve()
        break
      case 'commit':
        if (message.mirror) this.#toMirror = message.step
        this.#committedStep = Math.max(this.#committedStep, message.step)
        for (const [step, waiting] of this.#commits) {
          if (step > this.#committedStep) continue
          this.#commits.delete(step)
          waiting.resolve()
        }
        break
      case 'regroup':
        this.#regroup = { step: message.afterStep, saves: message.save }
        break
      case 'shares':
        this.#shares.push({ fromStep: message.fromStep, shares: message.shares })
        break
      case 'checkpoint-parts':
        this.#savedAt(message.step).resolve(message.isWhole)
        this.#saves.delete(message.step)
        break
      case 'mirror-whole':
        this.#mirrored = message.step
        break
      case 'stop':
        this.#stopAfter = message.afterStep
        break
    }
  }

  /** Ends everything that waits with this error; the first one stays. */
  fail(error: SkeinError): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.#over.reject(error)
    this.#connected.reject(error)
    this.#restored.reject(error)
    this.#started.reject(error)
    for (const group of this.#groups.values()) group.fail(error)
    for (const commit of this.#commits.values()) commit.reject(error)
    this.#commits.clear()
    for (const saved of this.#saves.values()) saved.resolve(false)
    this.#saves.clear()
  }

  #addGroup(number: number, rank: number, worldSize: number): void {
    const group = new RemoteGroup({ rank, worldSize }, request => this.#post({ ...request, group: number }))
    this.#groups.set(number, group)
    if (this.#failure !== undefined) group.fail(this.#failure)
  }
}

/** Unwinds the device thread out of its work; what ended the generation is said by `over`. */
export class GenerationIsOver extends Error {}

function float32Of({ byteOffset, bytes }: Region): TensorRegion {
  return { byteOffset, elems: bytes / 4, dtype: 'float32' }
}

import {
  allocateHistory,
  CatchupErrors,
  Follower,
  type HttpSource,
  type SharedHistory,
  type SharedState,
  SlotSteps,
  StateServer,
  type Standing,
  UpdateHistory,
} from '@skein/catchup'
import { asSkeinError, type Clock, type Ms, partOf, type SkeinError, sleep, systemClock } from '@skein/core'
import { createSimd } from '@skein/simd'
import type { Logger } from '@skein/telemetry'
import type { GenerationMessage } from './generation-client.ts'
import { SourceSilence } from './source-silence.ts'
import { type AskerFacts, stateSources } from './state-sources.ts'

/** Where nobody gives state, all are asked again after so long. */
const askAgainMs: Ms = 500
/** Updates are recorded so long after the last one who asked for them. */
const recordForMs: Ms = 15_000

/** Where the state of this part is to be had: each rank has one. */
export type StatePlaces = Pick<GenerationMessage, 'generation' | 'parts' | 'members' | 'laneToken'> & {
  readonly part: number
  /** Their last commit, as the coordinator knows it. */
  readonly step: number
}

export interface CatchUpParts extends AskerFacts {
  readonly logger: Logger
  readonly clock?: Clock
  /** Whether collectives are under way: then nothing large is sent, for a while. */
  readonly isBusy: () => boolean
  /** Each update is to be recorded here; undefined: no more. */
  readonly onRecord: (history: SharedHistory | undefined) => void
  /** The state after a commit has been put together; undefined: the others are too fast for that. */
  readonly onHeld: (generation: number, held: Standing | undefined) => void
  /** No state can be had from the members of this generation, for now or at all. */
  readonly onFailed: (generation: number, error: SkeinError) => void
}

/**
 * A worker's state for others, and others' state for this one: the side of a member that trains, and of one that waits to be taken in. The state
 * is written here only while the device thread is idle or has asked for it.
 */
export class CatchUp {
  readonly server: StateServer
  readonly #parts: CatchUpParts
  readonly #clock: Clock
  #state: SharedState | undefined
  #part = 0
  #follower: Follower | undefined
  #following: AbortController | undefined
  #silence: SourceSilence | undefined
  #places: StatePlaces | undefined
  #isIdle = false
  #isRecording = false
  #askedMs = 0

  constructor(parts: CatchUpParts) {
    this.#parts = parts
    this.#clock = parts.clock ?? systemClock
    this.server = new StateServer({ isBusy: parts.isBusy, onFollower: () => this.#onFollower() })
  }

  /** The part of the model whose state lies here. */
  get part(): number {
    return this.#part
  }

  /** Where the training state of a part of the model lies from now on. */
  share(state: SharedState, part: number): void {
    this.#following?.abort()
    this.#following = undefined
    this.#follower = undefined
    this.#state = state
    this.#part = part
    // What is recorded is as large as the state before. Who still asks begins it anew.
    this.#stopRecording()
    this.server.serve(state)
    this.#follow()
  }

  /** The device thread touches the state no more, until it is told of a generation. */
  idle(): void {
    this.#isIdle = true
    this.#follow()
  }

  /** The others train, and this one waits: it goes after them from now on, as soon as there is a place for the state of that part. */
  begin(places: StatePlaces): void {
    this.stop()
    this.#places = places
    this.#follow()
  }

  /** A generation has been formed with this worker: the state is the device thread's. */
  taken(): void {
    this.#isIdle = false
    this.stop()
  }

  /** Nothing more is written. */
  stop(): void {
    this.#following?.abort()
    this.#following = undefined
    this.#silence = undefined
    this.#places = undefined
  }

  /** The device thread has the state it begins a generation with: what was put together here will soon be of the past. */
  ready(): void {
    this.#follower = undefined
  }

  /**
   * Gets the state after `step` from `ranks` of a generation that waits for this worker: the one that they train, or their copies of a mirrored step.
   * @throws SKEIN_CATCHUP_*
   */
  async restore(
    places: Omit<StatePlaces, 'part' | 'step'>,
    { ranks, areCopies }: { readonly ranks: readonly number[]; readonly areCopies: boolean },
    step: number,
    signal: AbortSignal,
  ): Promise<Standing> {
    this.stop()
    const sources = stateSources(places, ranks, this.#parts)
    const given = areCopies ? sources.map(source => source.ofCopy({ part: this.#part, step })) : sources
    try {
      return await this.#followerOf().reach(step, given, signal)
    } finally {
      for (const source of sources) source.close()
    }
  }

  /** Whether the state after `step` lies here as it was: who goes after the others writes theirs over it, chunk by chunk. */
  isWhole(step: number): boolean {
    const state = this.#state
    return state === undefined || new SlotSteps(state.memory, state.steps).slotOf(step) !== undefined
  }

  /** To be called about once a second. */
  sweep(): void {
    const silence = this.#silence?.toTell()
    if (silence !== undefined && this.#places !== undefined) this.#failed(this.#places.generation, silence)
    if (this.#clock.now() - this.#askedMs >= recordForMs) this.#stopRecording()
  }

  #stopRecording(): void {
    if (!this.#isRecording) return
    this.#isRecording = false
    this.server.record(undefined)
    this.#parts.onRecord(undefined)
  }

  #onFollower(): void {
    this.#askedMs = this.#clock.now()
    const state = this.#state
    if (this.#isRecording || state === undefined) return
    this.#isRecording = true
    const history = allocateHistory(state.totalElems)
    this.server.record(new UpdateHistory(history))
    this.#parts.onRecord(history)
  }

  #follow(): void {
    const places = this.#places
    if (places === undefined || !this.#isIdle || this.#state === undefined || this.#following !== undefined) return
    if (places.part !== this.#part) return
    const following = new AbortController()
    this.#following = following
    const sources = stateSources(
      places,
      places.members.map(member => member.rank).filter(rank => partOf(rank, places.parts) === places.part),
      this.#parts,
    )
    this.#silence = new SourceSilence(sources, this.#clock)
    void this.#goAfter(places, sources, following.signal).finally(() => {
      for (const source of sources) source.close()
    })
  }

  /** Until it is told to stop, or there is no use in asking again: the next generation may have other members. Never rejects. */
  async #goAfter(
    { generation, step }: StatePlaces,
    sources: readonly HttpSource[],
    signal: AbortSignal,
  ): Promise<void> {
    const { logger, onHeld } = this.#parts
    let from = step
    const follower = this.#followerOf()
    logger.info({ generation, sources: sources.length, ...follower.progress }, 'catch-up.start')
    while (!signal.aborted) {
      try {
        await follower.follow(sources, from, signal, held => {
          from = held.step
          logger.debug({ generation, step: held.step, bytes: sum(sources) }, 'catch-up.held')
          onHeld(generation, held)
        })
      } catch (thrown) {
        if (signal.aborted) return
        const error = asSkeinError(thrown)
        const facts = { generation, code: error.code, reason: error.message, bytes: sum(sources) }
        switch (error.code) {
          case CatchupErrors.SOURCES_LOST.code:
            logger.debug(facts, 'catch-up.asks-again')
            await sleep(askAgainMs, signal).catch(() => undefined)
            break
          case CatchupErrors.TOO_SLOW.code:
            logger.warn(facts, 'catch-up.too-slow')
            this.#silence = undefined
            onHeld(generation, undefined)
            return
          default:
            this.#silence = undefined
            this.#failed(generation, error)
            return
        }
      }
    }
  }

  #failed(generation: number, error: SkeinError): void {
    const { logger, onFailed } = this.#parts
    logger.warn({ generation, code: error.code, reason: error.message }, 'catch-up.failed')
    onFailed(generation, error)
  }

  #followerOf(): Follower {
    const state = this.#state
    if (state === undefined) throw new Error('a state is asked for before there is a place for it')
    this.#follower ??= new Follower({ state, simd: createSimd(state.memory) })
    return this.#follower
  }
}

const sum = (sources: readonly HttpSource[]): number =>
  sources.reduce((bytes, source) => bytes + source.bytesReceived, 0)

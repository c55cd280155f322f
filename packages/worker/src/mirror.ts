import {
  CatchupErrors,
  fetchCopy,
  type HttpSource,
  KeptCopies,
  type StateServer,
  type StateSlots,
} from '@skein/catchup'
import { asSkeinError, mirroredPart, mirroredRank, type Ms, sleep } from '@skein/core'
import type { Logger } from '@skein/telemetry'
import type { WorkerMessage } from '@skein/wire'
import type { GenerationMessage } from './generation-client.ts'
import { type AskerFacts, stateSources } from './state-sources.ts'

/** The neighbour may be a step behind, and have no copy yet. */
const askAgainMs: Ms = 200

type KeptStep = Extract<WorkerMessage, { type: 'join' }>['keeps'][number]

export interface MirrorParts extends AskerFacts {
  readonly logger: Logger
  /** Gives the copies to those who ask: to a neighbour as its mirror, and to whoever begins with them. */
  readonly server: StateServer
  /** Both copies of a step are here. */
  readonly onKept: (generation: number, kept: KeptStep) => void
}

/** A rank that has just copied its own part. */
export interface OwnCopy {
  readonly message: GenerationMessage
  readonly rank: number
  readonly part: number
  readonly step: number
  /** Where its copies lie. */
  readonly slots: StateSlots
}

interface Kept {
  readonly part: number
  readonly copies: KeptCopies
}

/**
 * The comm thread's side of a mirrored step: gets the neighbour's copy beside the training, tells when it is whole, and gives both to whoever asks.
 * What is kept stays when a generation ends; it goes with the part.
 */
export class Mirror {
  readonly #parts: MirrorParts
  #own: Kept | undefined
  #neighbours: Kept | undefined
  /** The last step that all keep, which nothing is written over. */
  #whole: number | undefined
  #kept: readonly KeptStep[] = []
  #sources: { readonly generation: number; readonly of: readonly HttpSource[] } | undefined
  #taking: AbortController | undefined

  constructor(parts: MirrorParts) {
    this.#parts = parts
  }

  /** What is here, whole: for a coordinator that is to hear of it anew. */
  get kept(): KeptStep[] {
    return this.#kept.filter(({ step }) => this.#isHere(step))
  }

  /** All keep this step, as the coordinator says; undefined: it knows of none. */
  isWhole(step: number | undefined): void {
    this.#whole = step
  }

  /** This rank's own part is copied: its neighbour's is to be, too. One that is under way is given up. */
  take(own: OwnCopy): void {
    this.#taking?.abort()
    const taking = new AbortController()
    this.#taking = taking
    if (this.#own?.copies.slots.memory !== own.slots.memory) {
      this.#own = { part: own.part, copies: new KeptCopies(own.slots) }
      this.#parts.server.keep(own.part, this.#own.copies)
    }
    void this.#take(own, taking.signal)
  }

  /** The generation is over: nothing more is to be had in it. */
  stop(): void {
    this.#taking?.abort()
    for (const source of this.#sources?.of ?? []) source.close()
    this.#sources = undefined
  }

  /** This worker has another part: its copies go with the former one. */
  letGo(): void {
    this.stop()
    this.#own = undefined
    this.#neighbours = undefined
    this.#kept = []
    this.#parts.server.letCopiesGo()
  }

  #isHere(step: number): boolean {
    return this.#own?.copies.has(step) === true && this.#neighbours?.copies.has(step) === true
  }

  /** Never rejects. */
  async #take({ message, rank, part, step }: OwnCopy, signal: AbortSignal): Promise<void> {
    const { generation } = message
    const { logger, onKept } = this.#parts
    const other = mirroredPart(part, message.parts)
    const [source] = this.#sourcesIn(message, rank)
    if (source === undefined) return
    const startMs = performance.now()
    const bytesBefore = source.bytesReceived
    while (!signal.aborted) {
      try {
        if (!(step === this.#whole && this.#isHere(step))) await this.#fetch(source, other, step, signal)
        const digests = [this.#own?.copies.digest(step), this.#neighbours?.copies.digest(step)] as const
        if (digests[0] === undefined || digests[1] === undefined) return
        const kept = { step, part, digests: [digests[0], digests[1]] as const }
        this.#kept = [kept, ...this.#kept.filter(one => one.step === this.#whole && one.step !== step)]
        const facts = { bytes: source.bytesReceived - bytesBefore, durMs: performance.now() - startMs }
        logger.debug({ generation, step, ...facts }, 'mirror.kept')
        onKept(generation, kept)
        return
      } catch (thrown) {
        if (signal.aborted) return
        const { code, message: reason } = asSkeinError(thrown)
        if (code === CatchupErrors.REFUSED.code) logger.debug({ generation, step, code, reason }, 'mirror.asks-again')
        else logger.warn({ generation, step, code, reason }, 'mirror.asks-again')
        await sleep(askAgainMs, signal).catch(() => undefined)
      }
    }
  }

  async #fetch(source: HttpSource, part: number, step: number, signal: AbortSignal): Promise<void> {
    const copy = source.ofCopy({ part, step })
    const standing = await copy.standing(undefined, signal)
    const known = this.#neighbours
    const fits = known?.part === part && known.copies.slots.totalElems === standing.totalElems
    const kept = fits ? known : { part, copies: KeptCopies.allocate(standing.totalElems) }
    this.#neighbours = kept
    this.#parts.server.keep(part, kept.copies)
    await fetchCopy(copy, standing, kept.copies, { whole: this.#whole, signal })
  }

  #sourcesIn(message: GenerationMessage, rank: number): readonly HttpSource[] {
    const { generation, parts } = message
    if (this.#sources?.generation !== generation) {
      this.#sources = { generation, of: stateSources(message, [mirroredRank(rank, parts)], this.#parts) }
    }
    return this.#sources.of
  }
}

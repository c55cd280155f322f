import { abortedError, asSkeinError, SkeinError, sleep } from '@skein/core'
import { adamwSlabs, formatHash, type Simd } from '@skein/simd'
import { type Chunk, chunksOf } from './chunks.ts'
import { CatchupErrors } from './errors.ts'
import { type SharedState, SlotSteps } from './shared-state.ts'
import type { ChunkAnswer, Standing, StateSource } from './source.ts'

export interface FollowerOptions {
  readonly state: SharedState
  readonly simd: Simd
  /** Elements of a chunk; the same at the sources. */
  readonly chunkElems?: number
  /** Time between two attempts at a source that refuses or breaks; grows with each. Default 50 ms. */
  readonly retryMs?: number
}

/** Passes over all chunks without an end at which all are of one step: then the others are faster. */
const maxPasses = 12
/** Attempts at a source, one after the other. */
const maxAttempts = 5
/** Looks for a whole state anew, where what was put together is not what the log says. */
const maxWrong = 2

/**
 * Puts together the state that others are training, in the memory of a worker that takes no part yet.
 *
 * Each chunk is fetched once whole, at whatever step its source has just committed; from then on only the summed gradients of each further step
 * are, and its update is repeated here with the same kernel: a third of the bytes, and the same bits. Chunks come from all sources at once, one at
 * a time from each; what a lost source owes, the others give.
 *
 * Owns both slots of the state from the first call on: nobody else writes it meanwhile.
 */
export class Follower {
  readonly #state: SharedState
  readonly #simd: Simd
  readonly #retryMs: number
  readonly #steps: SlotSteps
  readonly #chunks: readonly Chunk[]
  /** The step that each chunk is of. */
  readonly #stepOf: (number | undefined)[]
  #slot: 0 | 1 = 0

  constructor(options: FollowerOptions) {
    this.#state = options.state
    this.#simd = options.simd
    this.#retryMs = options.retryMs ?? 50
    this.#steps = new SlotSteps(options.state.memory, options.state.steps)
    this.#chunks = chunksOf(options.state.totalElems, options.chunkElems)
    this.#stepOf = this.#chunks.map(() => undefined)
  }

  /** Chunks there are, and how many of them are here, of whatever step. */
  get progress(): { readonly chunks: number; readonly chunksHeld: number } {
    const { length } = this.#chunks
    return { chunks: length, chunksHeld: this.#stepOf.filter(step => step !== undefined).length }
  }

  /**
   * Goes after the commits of the others until the signal ends it, and says so whenever a whole one is there; ends by throwing, always. A source that
   * stands before the step `from`, which is committed, has not heard of that yet. What is here of later steps may be of a run that has gone back since.
   * What is here is kept then, for a later call with other sources.
   * @throws SKEIN_CATCHUP_SOURCES_LOST, SKEIN_CATCHUP_TOO_SLOW, SKEIN_CATCHUP_STATE_DIFFERS, SKEIN_ABORTED
   */
  async follow(
    sources: readonly StateSource[],
    from: number,
    signal: AbortSignal,
    onHeld: (held: Standing) => void,
  ): Promise<never> {
    for (let isFirst = true; !signal.aborted; isFirst = false) {
      onHeld(await this.#next(sources, from, this.#heldStep(), isFirst, signal))
    }
    throw abortedError('catching up', signal)
  }

  /** Gets the state after `step`, which is the newest commit of the sources and stays so. @throws as `follow` */
  async reach(step: number, sources: readonly StateSource[], signal: AbortSignal): Promise<Standing> {
    for (let wrong = 0; ; ) {
      const standing = await firstOf(sources, signal, this.#retryMs, async source => {
        const its = await source.standing(undefined, signal)
        // Its word of the commit is on the way.
        if (its.step !== step) throw notThere(source, its, step)
        return its
      })
      if (this.#stepOf.some(had => had !== undefined && had > step)) this.#drop()
      if (!this.#adopt(standing)) await this.#advanceTo(step, sources, signal)
      const held = this.#settle(standing)
      if (held !== undefined) return held
      if (++wrong >= maxWrong) throw this.#differs(standing)
      this.#drop()
    }
  }

  /** The next commit after `had` at which all chunks are of one step. `isFirst`: what is here may be of a run that has gone back since. */
  async #next(
    sources: readonly StateSource[],
    from: number,
    had: number | undefined,
    isFirst: boolean,
    signal: AbortSignal,
  ): Promise<Standing> {
    let wrong = 0
    for (let pass = 0; pass < maxPasses; pass++) {
      const standing = await this.#newer(sources, from, had, isFirst && pass === 0, signal)
      if (this.#adopt(standing)) return standing
      await this.#advanceTo(standing.step, sources, signal)
      if (this.#heldStep() !== standing.step) continue
      const held = this.#settle(standing)
      if (held !== undefined) return held
      if (++wrong >= maxWrong) throw this.#differs(standing)
      this.#drop()
    }
    throw new SkeinError(CatchupErrors.TOO_SLOW, {
      what: `after ${maxPasses} passes over ${this.#chunks.length} chunks the others are still ahead`,
      why: 'they make a step sooner than its gradients arrive here',
      todo: 'nothing: what is missing comes while they wait, when this worker is taken in',
    })
  }

  /** Where a source stands, other than at `had`. Who stands further back than a chunk of another source has not heard of that commit yet. */
  async #newer(
    sources: readonly StateSource[],
    from: number,
    had: number | undefined,
    mayBeBack: boolean,
    signal: AbortSignal,
  ): Promise<Standing> {
    for (;;) {
      const standing = await firstOf(sources, signal, this.#retryMs, source => source.standing(had, signal))
      if (standing.step === had) continue
      const isBack = this.#stepOf.some(step => step !== undefined && step > standing.step)
      if (standing.step >= from && (!isBack || mayBeBack)) {
        if (isBack) this.#drop()
        return standing
      }
      await sleep(this.#retryMs, signal)
    }
  }

  /** The step that all chunks are of. */
  #heldStep(): number | undefined {
    const [first] = this.#stepOf
    return this.#stepOf.every(step => step === first) ? first : undefined
  }

  /** A worker that was away for a moment may hold the newest commit already. */
  #adopt({ step, digest }: Standing): boolean {
    const slot = this.#steps.slotOf(step)
    if (slot === undefined || this.#digestOf(slot) !== digest) return false
    this.#slot = slot
    this.#stepOf.fill(step)
    return true
  }

  /** Everything is of the standing's step: whether it is what the log says. */
  #settle({ step, digest }: Standing): Standing | undefined {
    if (this.#digestOf(this.#slot) !== digest) return undefined
    this.#steps.set(this.#slot, step)
    return { step, digest }
  }

  #digestOf(slot: 0 | 1): string {
    const { params } = this.#state.slots[slot]
    return formatHash(this.#simd.hash(params.byteOffset, params.bytes))
  }

  #drop(): void {
    this.#stepOf.fill(undefined)
  }

  /** Brings every chunk to `step`, or beyond it where its source had no more of the steps between. */
  async #advanceTo(step: number, sources: readonly StateSource[], signal: AbortSignal): Promise<void> {
    this.#steps.set(0, undefined)
    this.#steps.set(1, undefined)
    const isBehind = ({ index }: Chunk) => (this.#stepOf[index] ?? -1) < step
    const waiting = this.#chunks.filter(isBehind).reverse()
    let lost: unknown
    const take = async (source: StateSource): Promise<boolean> => {
      for (let chunk = waiting.pop(); chunk !== undefined; chunk = waiting.pop()) {
        try {
          while (isBehind(chunk)) {
            const answer = await this.#ask(source, chunk, signal)
            // Whoever has ended this may be writing the state already.
            if (signal.aborted) throw abortedError('catching up', signal)
            this.#apply(chunk, answer)
          }
        } catch (thrown) {
          waiting.push(chunk)
          if (signal.aborted) throw abortedError('catching up', signal)
          lost = thrown
          return false
        }
      }
      return true
    }
    let living = sources
    while (waiting.length > 0) {
      if (living.length === 0) throw sourcesLost(sources, lost)
      const isAlive = await Promise.all(living.map(take))
      living = living.filter((_, i) => isAlive[i])
    }
  }

  #ask(source: StateSource, chunk: Chunk, signal: AbortSignal): Promise<ChunkAnswer> {
    return persistently(signal, this.#retryMs, () => source.chunk(chunk, this.#stepOf[chunk.index], signal))
  }

  #apply(chunk: Chunk, answer: ChunkAnswer): void {
    const { memory, slots, gradients, slabs } = this.#state
    const slot = slots[this.#slot]
    const put = (region: { readonly byteOffset: number }, values: Float32Array) =>
      new Float32Array(memory.buffer, region.byteOffset + chunk.offset * 4, chunk.elems).set(values)
    switch (answer.kind) {
      case 'state': {
        const part = (i: number) => answer.values.subarray(i * chunk.elems, (i + 1) * chunk.elems)
        put(slot.params, part(0))
        put(slot.expAvg, part(1))
        put(slot.expAvgSq, part(2))
        this.#stepOf[chunk.index] = answer.step
        break
      }
      case 'update':
        put(gradients, answer.values)
        adamwSlabs(this.#simd, slabs, chunk, { from: slot, to: slot, gradients }, answer.options)
        this.#stepOf[chunk.index] = answer.options.step
        break
    }
  }

  #differs({ step, digest }: Standing): SkeinError {
    return new SkeinError(CatchupErrors.STATE_DIFFERS, {
      what: `the parameters after step ${step} have digest ${this.#digestOf(this.#slot)} here and ${digest} in the log, twice`,
      why: "memory of this machine or of a peer's is corrupted, or their versions of Skein differ",
      todo: 'install the same version everywhere; if it happens again, test the memory of this machine',
      details: { step, digest },
    })
  }
}

/** The first answer of any source, all asked in turn. */
async function firstOf<T>(
  sources: readonly StateSource[],
  signal: AbortSignal,
  retryMs: number,
  ask: (source: StateSource) => Promise<T>,
): Promise<T> {
  let lost: unknown
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    for (const source of sources) {
      try {
        return await ask(source)
      } catch (thrown) {
        if (signal.aborted) throw abortedError('catching up', signal)
        lost = thrown
      }
    }
    await sleep(retryMs << attempt, signal)
  }
  throw sourcesLost(sources, lost)
}

async function persistently<T>(signal: AbortSignal, retryMs: number, ask: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await ask()
    } catch (thrown) {
      if (signal.aborted || attempt + 1 >= maxAttempts) throw thrown
      await sleep(retryMs << attempt, signal)
    }
  }
}

const notThere = (source: StateSource, standing: Standing, step: number): SkeinError =>
  new SkeinError(CatchupErrors.REFUSED, {
    what: `${source.name} stands at step ${standing.step}, not at ${step}`,
    why: 'it has not heard of the commit yet, or is in another generation',
    todo: 'nothing; it is asked again, or another one is',
  })

function sourcesLost(sources: readonly StateSource[], cause: unknown): SkeinError {
  return new SkeinError(CatchupErrors.SOURCES_LOST, {
    what: `nothing more comes from ${sources.map(source => source.name).join(', ') || 'nobody'}: ${asSkeinError(cause).what}`,
    why: 'they have died or left, or cannot be reached from here',
    todo: 'nothing; the next generation brings new ones',
    cause,
  })
}

import { mirroredPart, mirroredRank } from '@skein/core'
import type { GenerationMember } from './messages.ts'
import type { HeldState, KeptStep } from './state.ts'

/** What mirroring needs of the worker that does it. */
interface Mirroring {
  readonly parts: number
  /** After a random delay of at most so many ms. */
  after(mostMs: number, act: () => void): void
  /** What the process behind a lane address keeps. */
  copyOf(member: GenerationMember | undefined, part: number, step: number): HeldState | undefined
  onKept(generation: number, kept: KeptStep): void
}

interface Place {
  readonly generation: number
  readonly members: readonly GenerationMember[]
  readonly rank: number
}

type Copies = [HeldState | undefined, HeldState | undefined]

/**
 * A worker's copies of mirrored steps: of its own part and of its neighbour's, two of each. One is written over at each mirrored step, and never the
 * one that it has heard to be the last whole one.
 */
export class SimulatedMirror {
  readonly #mirroring: Mirroring
  #own: Copies = [undefined, undefined]
  #neighbours: Copies = [undefined, undefined]
  #whole: number | undefined
  /** What it is about to get. */
  #taking: object | undefined

  constructor(mirroring: Mirroring) {
    this.#mirroring = mirroring
  }

  /** It has another part from now on, or the same. */
  hasPart(part: number): void {
    if (this.#own.every(copy => copy === undefined || copy.part === part)) return
    this.#own = [undefined, undefined]
    this.#neighbours = [undefined, undefined]
  }

  /** The last step that all keep, as the coordinator says. */
  isWhole(step: number | undefined): void {
    this.#whole = step
  }

  /** Those who ask for it get no more of the generation; what is on the way does not arrive. */
  stop(): void {
    this.#taking = undefined
  }

  take(state: HeldState, place: Place): void {
    const taking = {}
    this.#taking = taking
    this.#put(this.#own, state)
    const neighbour = place.members[mirroredRank(place.rank, this.#mirroring.parts)]
    const ask = () => {
      if (this.#taking !== taking) return
      const part = mirroredPart(state.part, this.#mirroring.parts)
      const got = this.#mirroring.copyOf(neighbour, part, state.step)
      if (got === undefined) return this.#mirroring.after(50, ask)
      this.#put(this.#neighbours, got)
      const kept = this.kept.find(({ step }) => step === state.step)
      if (kept !== undefined) this.#mirroring.onKept(place.generation, kept)
    }
    this.#mirroring.after(100, ask)
  }

  copy(part: number, step: number): HeldState | undefined {
    return [...this.#own, ...this.#neighbours].find(copy => copy?.part === part && copy.step === step)
  }

  get kept(): KeptStep[] {
    return this.#own.flatMap(own => {
      const neighbours = this.#neighbours.find(copy => copy !== undefined && copy.step === own?.step)
      if (own === undefined || neighbours === undefined) return []
      return [{ step: own.step, part: own.part, digests: [own.digest, neighbours.digest] as const }]
    })
  }

  #put(copies: Copies, copy: HeldState): void {
    const isWhole = (one: HeldState | undefined) => one !== undefined && one.step === this.#whole
    if (copies.some(one => isWhole(one) && one?.step === copy.step)) return
    copies[isWhole(copies[0]) ? 1 : 0] = copy
  }
}

import type { CoordinatorMessage, GenerationMember } from './messages.ts'
import type { HeldState } from './state.ts'

/** Where the state is to be had. */
type Places = Extract<CoordinatorMessage, { type: 'catch-up' }>

/** What catching up needs of the worker that does it. */
interface Waiting {
  /** The newest first; nothing while it is torn. */
  held(): readonly HeldState[]
  /** After a random delay of at most so many ms. */
  after(mostMs: number, act: () => void): void
  /** What a member gives to one who waits: undefined where it is gone, or the generation is over there. */
  committedOf(member: GenerationMember, part: number, generation: number): HeldState | undefined
  /** It goes on from the first of these now, and says so; the other is not written over yet. */
  onHeld(generation: number, held: readonly HeldState[]): void
  /** Nobody gave it anything for long. */
  onFailed(generation: number): void
}

/** As often it asks those who are silent before it says so. */
const asksBeforeFailed = 20

/**
 * A worker that waits goes after the commits of the others until it is taken in. Each takes a while to arrive and is written over the one before
 * it: meanwhile what it has said to hold is torn, and nobody may begin with that.
 */
export class SimulatedCatchUp {
  readonly #waiting: Waiting
  #places: Places | undefined
  #isTorn = false
  /** Since the last that gave something. */
  #numUnheard = 0
  /** The last step that it has told of. */
  #told: number | undefined

  constructor(waiting: Waiting) {
    this.#waiting = waiting
  }

  get isTorn(): boolean {
    return this.#isTorn
  }

  begin(places: Places): void {
    this.#places = places
    this.#told = undefined
    this.#numUnheard = 0
    this.#waiting.after(300, () => this.#follow(places))
  }

  /** A generation has been formed with this worker. */
  taken(): void {
    this.#places = undefined
  }

  /** It has a whole state, from wherever. */
  restored(): void {
    this.#isTorn = false
  }

  #follow(places: Places): void {
    if (this.#places !== places) return
    const held = this.#waiting.held().filter(({ part }) => part === places.part)
    const newest = newestOf(
      places.members.flatMap(member => this.#waiting.committedOf(member, places.part, places.generation) ?? []),
    )
    if (newest === undefined) {
      if (++this.#numUnheard === asksBeforeFailed) this.#waiting.onFailed(places.generation)
      this.#waiting.after(500, () => this.#follow(places))
      return
    }
    this.#numUnheard = 0
    if (newest.step < places.step || (!this.#isTorn && newest.step <= (this.#told ?? -1))) {
      // Or one who has not heard of the last commit yet, when those who had are gone.
      this.#waiting.after(50, () => this.#follow(places))
    } else if (
      held.some(({ part, step, digest }) => part === newest.part && step === newest.step && digest === newest.digest)
    ) {
      // One that was away for a moment has it already, maybe as the step before its last: nothing is written, and nothing lost. Its last may be
      // what the others are about to commit, and where they have, and die, the run goes on from it.
      const isNewest = ({ step }: HeldState) => step === newest.step
      this.#isHeld(places, [newest, ...held.filter(one => !isNewest(one))])
      this.#told = newest.step
      this.#waiting.after(50, () => this.#follow(places))
    } else {
      this.#isTorn = true
      this.#waiting.after(100, () => {
        if (this.#places !== places) return
        this.#isHeld(places, [newest])
        this.#told = newest.step
        this.#follow(places)
      })
    }
  }

  #isHeld({ generation }: Places, held: readonly HeldState[]): void {
    this.#isTorn = false
    this.#waiting.onHeld(generation, held)
  }
}

const newestOf = (states: readonly HeldState[]): HeldState | undefined =>
  states.reduce<HeldState | undefined>((newest, one) => (one.step > (newest?.step ?? -1) ? one : newest), undefined)

import type { CoordinatorMessage, GenerationMember } from './messages.ts'
import type { HeldState } from './state.ts'

/** Where the state is to be had. */
type Places = Extract<CoordinatorMessage, { type: 'catch-up' }>

/** What catching up needs of the worker that does it. */
interface Waiting {
  held(): HeldState | undefined
  /** After a random delay of at most so many ms. */
  after(mostMs: number, act: () => void): void
  /** What a member gives to one who waits: undefined where it is gone, or the generation is over there. */
  committedOf(member: GenerationMember, generation: number): HeldState | undefined
  /** It has this now, and says so; undefined: nothing that is whole. */
  onHeld(held: HeldState | undefined): void
}

/**
 * A worker that waits goes after the commits of the others until it is taken in. Each takes a while to arrive and is written over the one before
 * it: meanwhile what it has said to hold is torn, and nobody may begin with that.
 */
export class SimulatedCatchUp {
  readonly #waiting: Waiting
  #places: Places | undefined
  #isTorn = false

  constructor(waiting: Waiting) {
    this.#waiting = waiting
  }

  get isTorn(): boolean {
    return this.#isTorn
  }

  begin(places: Places): void {
    this.#places = places
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
    const held = this.#waiting.held()
    const newest = newestOf(
      places.members.flatMap(member => this.#waiting.committedOf(member, places.generation) ?? []),
    )
    if (newest === undefined) {
      this.#places = undefined
      this.#isHeld(this.#isTorn ? undefined : held)
    } else if (newest.step === held?.step && !this.#isTorn) {
      this.#waiting.after(50, () => this.#follow(places))
    } else {
      this.#isTorn = true
      this.#waiting.after(100, () => {
        if (this.#places !== places) return
        this.#isHeld(newest)
        this.#follow(places)
      })
    }
  }

  #isHeld(held: HeldState | undefined): void {
    this.#isTorn = false
    this.#waiting.onHeld(held)
  }
}

const newestOf = (states: readonly HeldState[]): HeldState | undefined =>
  states.reduce<HeldState | undefined>((newest, one) => (one.step > (newest?.step ?? -1) ? one : newest), undefined)

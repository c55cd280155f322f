import { KeptCopies, type StateSlots } from '@skein/catchup'
import type { TrainingState } from '@skein/trainer'

/**
 * The device thread's copies of its own state after mirrored steps: what a rank goes back to when the part of another one is lost. Written by this
 * thread alone; the comm thread gives of them to the neighbour that keeps them as well.
 */
export class OwnCopies {
  readonly #state: TrainingState
  /** Taken at the first copy. */
  #copies: KeptCopies | undefined

  constructor(state: TrainingState) {
    this.#state = state
  }

  /** Copies the current state, that of `step`, over the one that is not `whole`: the last step that all keep. Returns where copies lie. */
  take(step: number, whole: number | undefined): StateSlots {
    const { layout, sharedBuffer } = this.#state
    this.#copies ??= KeptCopies.allocate(layout.totalElems)
    const copies = this.#copies
    // Back at the last whole one, that is here already.
    if (step === whole && copies.has(step)) return copies.slots
    const slot = copies.vacate(whole)
    const { params, expAvg, expAvgSq } = this.#state.current()
    const views = copies.views(slot)
    for (const [i, { byteOffset }] of [params, expAvg, expAvgSq].entries()) {
      views[i]?.set(new Float32Array(sharedBuffer, byteOffset, layout.totalElems))
    }
    copies.filled(slot, step)
    return copies.slots
  }

  /** Fills the state from the copy of `step`; whether there is one. */
  goBackTo(step: number): boolean {
    const views = this.#copies?.viewsOf(step)
    if (views === undefined) return false
    const { layout, sharedBuffer } = this.#state
    this.#state.forget()
    const { params, expAvg, expAvgSq } = this.#state.current()
    for (const [i, { byteOffset }] of [params, expAvg, expAvgSq].entries()) {
      const view = views[i]
      if (view !== undefined) new Float32Array(sharedBuffer, byteOffset, layout.totalElems).set(view)
    }
    this.#state.filled(step)
    return true
  }
}

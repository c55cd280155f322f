import type { Region, SharedMemory, Slab, StateSlot } from '@skein/simd'

/** Where the states of a part of the model after two steps lie. Plain data: it crosses threads as it is. */
export interface StateSlots {
  readonly memory: SharedMemory
  readonly slots: readonly [StateSlot, StateSlot]
  /** int32 [2]: the step that each slot holds, -1 for none. Written first with -1, last with the step: see `SlotSteps`. */
  readonly steps: Region
  /** Elements of each flat buffer. */
  readonly totalElems: number
}

/** Where a worker's training state lies: one slot is current, the other holds the step before, so that it can be undone, or is being written. */
export interface SharedState extends StateSlots {
  /** float32 [totalElems]: gradient sums of the step under way. */
  readonly gradients: Region
  /** Runs of equal weight decay, in order, that cover all elements. */
  readonly slabs: readonly Slab[]
}

const noStep = -1

/**
 * Which step each slot holds, known in every thread. Whoever writes a slot takes its step away before and puts the new one there after; who
 * copied from a slot looks again when it is done, and has copied one step whole if the step is still there.
 */
export class SlotSteps {
  readonly #words: Int32Array

  constructor(memory: SharedMemory, steps: Region) {
    this.#words = new Int32Array(memory.buffer, steps.byteOffset, 2)
  }

  at(slot: 0 | 1): number | undefined {
    const step = Atomics.load(this.#words, slot)
    return step === noStep ? undefined : step
  }

  set(slot: 0 | 1, step: number | undefined): void {
    Atomics.store(this.#words, slot, step ?? noStep)
  }

  /** The slot that holds the state after `step`. */
  slotOf(step: number): 0 | 1 | undefined {
    if (this.at(0) === step) return 0
    return this.at(1) === step ? 1 : undefined
  }
}

import { createSharedMemory, createSimd, formatHash, type Region, SharedArena, type Simd } from '@skein/simd'
import type { Chunk } from './chunks.ts'
import { SlotSteps, type StateSlots } from './shared-state.ts'

const float32Bytes = 4

/**
 * Copies of the state of one part of the model after two steps, in a memory of their own: the last step that is mirrored whole, and the one under way,
 * which is written over where it does not come to that. 24 B a parameter, taken at the first copy. Plain data (`slots`) tells another thread of them.
 */
export class KeptCopies {
  readonly slots: StateSlots
  readonly #simd: Simd
  readonly #steps: SlotSteps

  constructor(slots: StateSlots) {
    this.slots = slots
    this.#simd = createSimd(slots.memory)
    this.#steps = new SlotSteps(slots.memory, slots.steps)
  }

  static allocate(totalElems: number): KeptCopies {
    const bytes = totalElems * float32Bytes
    const arena = new SharedArena(createSharedMemory(6 * (bytes + 64) + 64))
    const slot = (name: string) => ({
      params: arena.alloc(`copy ${name} of params`, bytes),
      expAvg: arena.alloc(`copy ${name} of exp_avg`, bytes),
      expAvgSq: arena.alloc(`copy ${name} of exp_avg_sq`, bytes),
    })
    const slots = [slot('a'), slot('b')] as const
    const steps = arena.alloc('steps of copies', 2 * Int32Array.BYTES_PER_ELEMENT)
    const copies = new KeptCopies({ memory: arena.memory, slots, steps, totalElems })
    copies.#steps.set(0, undefined)
    copies.#steps.set(1, undefined)
    return copies
  }

  has(step: number): boolean {
    return this.#steps.slotOf(step) !== undefined
  }

  /** Of the parameters after `step`, computed from the copy; undefined where there is none, or it was written over meanwhile. */
  digest(step: number): string | undefined {
    const slot = this.#steps.slotOf(step)
    if (slot === undefined) return undefined
    const { params } = this.slots.slots[slot]
    const digest = formatHash(this.#simd.hash(params.byteOffset, params.bytes))
    return this.#steps.at(slot) === step ? digest : undefined
  }

  /** The place for another step: the one that is not `whole`. It holds nothing until it is `filled`. */
  vacate(whole: number | undefined): 0 | 1 {
    const slot = whole !== undefined && this.#steps.at(0) === whole ? 1 : 0
    this.#steps.set(slot, undefined)
    return slot
  }

  filled(slot: 0 | 1, step: number): void {
    this.#steps.set(slot, step)
  }

  /** Parameters and both moments: views that live as long as the memory, each float32 [totalElems]. */
  views(slot: 0 | 1): readonly [Float32Array, Float32Array, Float32Array] {
    const { params, expAvg, expAvgSq } = this.slots.slots[slot]
    return [this.#view(params), this.#view(expAvg), this.#view(expAvgSq)]
  }

  /** The same of the state after `step`, where it is here. */
  viewsOf(step: number): readonly [Float32Array, Float32Array, Float32Array] | undefined {
    const slot = this.#steps.slotOf(step)
    return slot === undefined ? undefined : this.views(slot)
  }

  /** Puts a chunk, float32 [3 × chunk.elems], into a vacated place. */
  put(slot: 0 | 1, { offset, elems }: Chunk, values: Float32Array): void {
    for (const [i, view] of this.views(slot).entries()) view.set(values.subarray(i * elems, (i + 1) * elems), offset)
  }

  #view({ byteOffset }: Region): Float32Array {
    return new Float32Array(this.slots.memory.buffer, byteOffset, this.slots.totalElems)
  }
}

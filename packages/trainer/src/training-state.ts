import type { FlatLayout } from '@skein/model'
import { type SharedState, SlotSteps } from '@skein/catchup'
import type { Region, SharedArena, StateSlot } from '@skein/simd'

/**
 * All that one worker trains, as flat float32 buffers in the shared memory (ADR 0001).
 *
 * Double buffered: an update reads the current slot and writes the other, then `flip` makes that one current. Until the next
 * update overwrites it, the former slot still holds the last step, so a step that is not committed can be undone: `goBackTo`.
 */
export interface TrainingState {
  readonly layout: FlatLayout
  /** The buffer of the shared memory that all regions lie in. */
  readonly sharedBuffer: ArrayBufferLike
  /** Where all of it lies, for another thread. */
  readonly shared: SharedState
  current(): StateSlot
  /** The slot beside the current one, to be written: it holds no step from now on. */
  vacate(): StateSlot
  /** The update of `step` is written: the other slot becomes the current one. Undefined: it is in doubt, and holds no step until `confirm`. */
  flip(step: number | undefined): void
  /** The current slot, which was in doubt, is the state after `step`. */
  confirm(step: number): void
  /** Neither slot holds a step from now on: the current one is about to be filled. */
  forget(): void
  /** Zeros everywhere, held by no step. */
  clear(): void
  /** The step that the current slot holds; undefined before anything was put there. */
  step(): number | undefined
  /** The current slot was filled with the state after `step`; the other holds nothing. */
  filled(step: number): void
  /** Makes the slot with the state after `step` the current one; whether there is one. What was beyond it is forgotten. */
  goBackTo(step: number): boolean
  /** Float32 view of the current parameters, [layout.totalElems]. Valid until the update after next writes this slot. */
  params(): Float32Array
  /** Gradient sums, float32 [layout.totalElems], followed by `tailElems` scalars that are reduced with the last bucket. */
  readonly gradients: Region
  gradientView(): Float32Array
  /** The scalars behind the gradients: [loss sum, sample count, 0 …]. */
  tailView(): Float32Array
  /** A place for reducing a few scalars outside the step, float32 [tailElems]. */
  readonly scalars: Region
}

/** One cache line of float32: keeps what follows aligned. */
export const tailElems = 16

const float32Bytes = 4

/** Bytes of shared memory that `createTrainingState` takes: 2 × (params + 2 moments) + gradients = 28 B a parameter. */
export function trainingStateBytes(layout: FlatLayout): number {
  return (7 * layout.totalElems + 2 * tailElems) * float32Bytes + 17 * 64
}

export function createTrainingState(layout: FlatLayout, arena: SharedArena): TrainingState {
  const bytes = layout.totalElems * float32Bytes
  const slot = (name: string): StateSlot => ({
    params: arena.alloc(`params ${name}`, bytes),
    expAvg: arena.alloc(`exp_avg ${name}`, bytes),
    expAvgSq: arena.alloc(`exp_avg_sq ${name}`, bytes),
  })
  const slots = [slot('a'), slot('b')] as const
  const gradients = arena.alloc('gradients', bytes + tailElems * float32Bytes)
  const scalars = arena.alloc('scalars', tailElems * float32Bytes)
  const stepWords = arena.alloc('steps', 2 * Int32Array.BYTES_PER_ELEMENT)
  const buffer = arena.memory.buffer
  const paramViews = slots.map(s => new Float32Array(buffer, s.params.byteOffset, layout.totalElems))
  const gradientView = new Float32Array(buffer, gradients.byteOffset, layout.totalElems)
  const tailView = new Float32Array(buffer, gradients.byteOffset + bytes, tailElems)
  const steps = new SlotSteps(arena.memory, stepWords)
  let index: 0 | 1 = 0
  const otherIndex = () => (index === 0 ? 1 : 0)
  const forget = () => {
    steps.set(0, undefined)
    steps.set(1, undefined)
  }
  forget()
  return {
    layout,
    sharedBuffer: buffer,
    shared: {
      memory: arena.memory,
      slots,
      steps: stepWords,
      gradients,
      totalElems: layout.totalElems,
      slabs: layout.slabs,
    },
    current: () => slots[index],
    vacate: () => {
      steps.set(otherIndex(), undefined)
      return slots[otherIndex()]
    },
    flip: step => {
      index = otherIndex()
      steps.set(index, step)
    },
    confirm: step => steps.set(index, step),
    forget,
    clear: () => {
      forget()
      for (const { params, expAvg, expAvgSq } of slots) {
        for (const { byteOffset } of [params, expAvg, expAvgSq]) {
          new Float32Array(buffer, byteOffset, layout.totalElems).fill(0)
        }
      }
    },
    step: () => steps.at(index),
    filled: step => {
      steps.set(index, step)
      steps.set(otherIndex(), undefined)
    },
    goBackTo: step => {
      const held = steps.slotOf(step)
      if (held === undefined) return false
      index = held
      steps.set(otherIndex(), undefined)
      return true
    },
    params: () => paramViews[index] as Float32Array,
    gradients,
    gradientView: () => gradientView,
    tailView: () => tailView,
    scalars,
  }
}

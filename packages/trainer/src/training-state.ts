import type { FlatLayout } from '@skein/model'
import type { Region, SharedArena } from '@skein/simd'

/** Parameters and AdamW moments of one instant, each float32 [layout.totalElems]. */
export interface StateSlot {
  readonly params: Region
  /** First moment, torch's `exp_avg`. */
  readonly expAvg: Region
  /** Second moment, torch's `exp_avg_sq`. */
  readonly expAvgSq: Region
}

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
  current(): StateSlot
  other(): StateSlot
  /** The update of `step` is written: the other slot becomes the current one. */
  flip(step: number): void
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
  return (7 * layout.totalElems + 2 * tailElems) * float32Bytes + 16 * 64
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
  const buffer = arena.memory.buffer
  const paramViews = slots.map(s => new Float32Array(buffer, s.params.byteOffset, layout.totalElems))
  const gradientView = new Float32Array(buffer, gradients.byteOffset, layout.totalElems)
  const tailView = new Float32Array(buffer, gradients.byteOffset + bytes, tailElems)
  const steps: (number | undefined)[] = [undefined, undefined]
  let index: 0 | 1 = 0
  return {
    layout,
    sharedBuffer: buffer,
    current: () => slots[index],
    other: () => slots[index === 0 ? 1 : 0],
    flip: step => {
      index = index === 0 ? 1 : 0
      steps[index] = step
    },
    clear: () => {
      steps.fill(undefined)
      for (const { params, expAvg, expAvgSq } of slots) {
        for (const { byteOffset } of [params, expAvg, expAvgSq]) {
          new Float32Array(buffer, byteOffset, layout.totalElems).fill(0)
        }
      }
    },
    step: () => steps[index],
    filled: step => {
      steps[index] = step
      steps[1 - index] = undefined
    },
    goBackTo: step => {
      if (steps[index] !== step) {
        if (steps[1 - index] !== step) return false
        index = index === 0 ? 1 : 0
      }
      steps[1 - index] = undefined
      return true
    },
    params: () => paramViews[index] as Float32Array,
    gradients,
    gradientView: () => gradientView,
    tailView: () => tailView,
    scalars,
  }
}

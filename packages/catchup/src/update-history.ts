import type { AdamwOptions } from '@skein/simd'
import type { Chunk } from './chunks.ts'

/** The memory of a history. Plain data: it crosses threads as it is. */
export interface SharedHistory {
  readonly totalElems: number
  /** int32 [depth]: the step whose update lies in each place, -1 for none. */
  readonly steps: SharedArrayBuffer
  /** float64 [depth][scalars]. */
  readonly scalars: SharedArrayBuffer
  /** [depth], each float32 [totalElems]. */
  readonly gradients: readonly SharedArrayBuffer[]
}

/** Everything that an update needs beside the state before it: one chunk of it. */
export interface Update {
  readonly options: AdamwOptions
  /** Gradient sums, float32 [chunk.elems]; a copy. */
  readonly gradients: Float32Array<ArrayBuffer>
}

/** Enough for a peer that is a step behind while the next is being made, and for one late answer. */
export const historyDepth = 3

const scalarNames = ['lr', 'beta1', 'beta2', 'eps', 'weightDecay', 'gradScale', 'step'] as const

/** 4 B a parameter for each of `depth` steps; taken from the system as it is written. */
export function allocateHistory(totalElems: number, depth = historyDepth): SharedHistory {
  const history = {
    totalElems,
    steps: new SharedArrayBuffer(depth * Int32Array.BYTES_PER_ELEMENT),
    scalars: new SharedArrayBuffer(depth * scalarNames.length * Float64Array.BYTES_PER_ELEMENT),
    gradients: Array.from({ length: depth }, () => new SharedArrayBuffer(totalElems * Float32Array.BYTES_PER_ELEMENT)),
  }
  new Int32Array(history.steps).fill(-1)
  return history
}

/**
 * The last updates of a worker, so that others can repeat them: a third of what the state itself would be. One thread records, another reads;
 * a reader that was overtaken gets nothing.
 */
export class UpdateHistory {
  readonly #shared: SharedHistory
  readonly #steps: Int32Array

  constructor(shared: SharedHistory) {
    this.#shared = shared
    this.#steps = new Int32Array(shared.steps)
  }

  /** Copies the gradient sums, float32 [totalElems], of the update that is about to be made. */
  record(options: AdamwOptions, gradients: Float32Array): void {
    const place = options.step % this.#steps.length
    Atomics.store(this.#steps, place, -1)
    const scalars = this.#scalarsAt(place)
    scalarNames.forEach((name, i) => {
      scalars[i] = options[name]
    })
    new Float32Array(this.#shared.gradients[place] as SharedArrayBuffer).set(gradients)
    Atomics.store(this.#steps, place, options.step)
  }

  /** The update of `step` for one chunk, its gradients in `into`, float32 [≥ chunk.elems]; undefined where it is not recorded, or not any more. */
  read(step: number, { offset, elems }: Chunk, into = new Float32Array(elems)): Update | undefined {
    const place = step % this.#steps.length
    if (Atomics.load(this.#steps, place) !== step) return undefined
    const scalars = this.#scalarsAt(place)
    const options = Object.fromEntries(scalarNames.map((name, i) => [name, scalars[i]])) as unknown as AdamwOptions
    const gradients = into.subarray(0, elems)
    gradients.set(new Float32Array(this.#shared.gradients[place] as SharedArrayBuffer, offset * 4, elems))
    return Atomics.load(this.#steps, place) === step ? { options, gradients } : undefined
  }

  #scalarsAt(place: number): Float64Array {
    const { length } = scalarNames
    return new Float64Array(this.#shared.scalars, place * length * Float64Array.BYTES_PER_ELEMENT, length)
  }
}

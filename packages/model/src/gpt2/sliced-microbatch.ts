import { numElements } from '@skein/core'
import { type DeviceTensor, releaseAll } from '@skein/device'
import type { Gpt2Config } from './config.ts'
import { isKeysValues } from './segment-passes.ts'

type Tensors = Readonly<Record<string, DeviceTensor>>

/**
 * What the slices of one microbatch's sequence share on a stage. Forward, a slice reads the keys and values of those before it; backward, it
 * adds to their gradients, which are complete for the slice whose turn is next. The tensors are under the names that passes give them.
 */
export class SlicedMicrobatch {
  readonly #numSlices: number
  /** By slice, as "saved/h<block>/attention/k" and "…/v". A slice's are gone when it has been backward. */
  readonly #keysValues: Tensors[] = []
  /** As "later/h<block>/k" and "…/v". */
  #later: Tensors = {}
  #numBackward = 0

  constructor(numSlices: number) {
    this.#numSlices = numSlices
  }

  get nextForward(): number {
    return this.#keysValues.length
  }

  get nextBackward(): number {
    return this.#numSlices - 1 - this.#numBackward
  }

  /** Inputs of every pass of `slice` but W: what the slices before it have. */
  earlier(slice: number): Tensors {
    const named = this.#keysValues.slice(0, slice).flatMap((tensors, j) => {
      return Object.entries(tensors).map(([name, tensor]): [string, DeviceTensor] => {
        return [name.replace(/^saved\/(h\d+)\/attention\//, `earlier/${j}/$1/`), tensor]
      })
    })
    return Object.fromEntries(named)
  }

  /** Inputs of B: its own keys and values, and what the slices behind it have given back. */
  forBackward(slice: number): Tensors {
    return { ...this.#keysValues[slice], ...this.#later }
  }

  /** Takes keys and values out of what F has saved, and returns the rest. Of an R, they are the same bits once more. */
  wentForward(slice: number, saved: Tensors): Tensors {
    const [keysValues, rest] = parted(saved, isKeysValues)
    if (slice === this.#keysValues.length) this.#keysValues.push(keysValues)
    else releaseAll(keysValues)
    return rest
  }

  /** Takes what B has made for the slices before it out of `out`, and returns the rest. */
  wentBackward(slice: number, out: Tensors): Tensors {
    const [later, rest] = parted(out, name => name.startsWith('later/'))
    releaseAll(this.#later)
    this.#later = later
    releaseAll(this.#keysValues[slice] ?? {})
    this.#keysValues[slice] = {}
    this.#numBackward++
    return rest
  }

  /** On the device. */
  bytes(): number {
    const tensors = [...this.#keysValues, this.#later].flatMap(byName => Object.values(byName))
    return tensors.reduce((sum, { shape }) => sum + 4 * numElements(shape), 0)
  }

  release(): void {
    for (const tensors of [...this.#keysValues, this.#later]) releaseAll(tensors)
    this.#keysValues.length = 0
    this.#later = {}
  }
}

/** Of all slices of one microbatch in one block. */
export function keysValuesBytes({ context, width }: Pick<Gpt2Config, 'context' | 'width'>, samples: number): number {
  return 2 * 4 * samples * context * width
}

function parted(tensors: Tensors, isFirst: (name: string) => boolean): readonly [Tensors, Tensors] {
  const entries = Object.entries(tensors)
  return [
    Object.fromEntries(entries.filter(([name]) => isFirst(name))),
    Object.fromEntries(entries.filter(([name]) => !isFirst(name))),
  ]
}

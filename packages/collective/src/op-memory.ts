import { dtypeBytes } from '@skein/core'
import type { RankSpace } from '@skein/plan'
import type { TensorRegion } from './region.ts'

interface Part {
  /** First address of the part in the plan, in elements. */
  readonly from: number
  readonly byteOffset: number
}

/** From the addresses of a plan, in elements, to the shared memory. */
export class OpMemory {
  readonly #parts: readonly Part[]
  readonly #elemBytes: number

  private constructor(parts: readonly Part[], elemBytes: number) {
    this.#parts = parts
    this.#elemBytes = elemBytes
  }

  /** One region, which the op reads and writes in place; further copies of it, where the plan has them, lie in scratch. */
  static inPlace(region: TensorRegion, scratchOffset: number): OpMemory {
    const { byteOffset, elems, dtype } = region
    const parts = [
      { from: 0, byteOffset },
      { from: elems, byteOffset: scratchOffset },
    ]
    return new OpMemory(parts, dtypeBytes[dtype])
  }

  /** Input, output and scratch one behind the other, as in `RankSpace`. */
  static apart(space: RankSpace, input: TensorRegion, output: TensorRegion, scratchOffset: number): OpMemory {
    const { inputElems, outputElems } = space
    // Looked up from behind: an empty part never hides the one that starts where it does.
    const parts = [
      { from: 0, byteOffset: input.byteOffset, elems: inputElems },
      { from: inputElems, byteOffset: output.byteOffset, elems: outputElems },
      { from: inputElems + outputElems, byteOffset: scratchOffset, elems: space.scratchElems },
    ]
    return new OpMemory(
      parts.filter(part => part.elems > 0),
      dtypeBytes[input.dtype],
    )
  }

  /** Byte offset of the element at this address. */
  byteOf(elem: number): number {
    for (let i = this.#parts.length - 1; i > 0; i--) {
      const part = this.#parts[i] as Part
      if (elem >= part.from) return part.byteOffset + (elem - part.from) * this.#elemBytes
    }
    const first = this.#parts[0]
    return first === undefined ? 0 : first.byteOffset + (elem - first.from) * this.#elemBytes
  }
}

import type { CodecKernels, ReduceOp as Combine } from '@skein/codec'
import { type DType, dtypeBytes } from '@skein/core'
import type { OpMemory } from './op-memory.ts'
import type { RegionDType } from './region.ts'

/** Bytes of the shared memory, as they are sent or received. */
export interface Stored {
  readonly byteOffset: number
  readonly bytes: number
}

/**
 * How the elements of one op travel: where the bytes of a range lie before they are sent and after they are received, and what
 * is done with them. The executor moves bytes and knows nothing of numbers.
 */
export interface Payload {
  /** Of the frames. */
  readonly dtype: DType
  /** Where a send of elements [from, to) takes its bytes, and a receive that stores them puts them. */
  stored(from: number, to: number): Stored
  /** What has arrived at `stored` becomes the values of the range. */
  store(from: number, to: number): void
  /** Local: elements [from, to) are copied to, or combined into, those from `at` on. */
  copy(from: number, to: number, at: number): void
  combineLocally(from: number, to: number, at: number): void
  /** What has arrived at byte `at` is combined with the values of the range. */
  combine(from: number, to: number, at: number): void
  /** The range is rounded to what can be sent, and its bytes are made. */
  encode(from: number, to: number): void
  /** The values of the range are multiplied: the end of a mean. */
  scale(from: number, to: number, factor: number): void
  /** Whether a NaN or an infinity was met, as far as this payload looks for them. */
  readonly nonfinite: boolean
}

/** The elementwise part of a reduction; a mean is a sum that is scaled at its end. */
export type { ReduceOp as Combine } from '@skein/codec'

/** Elements as they are: nothing is rounded or moved. */
export class PlainPayload implements Payload {
  readonly dtype: RegionDType
  readonly nonfinite = false
  readonly #memory: OpMemory
  readonly #kernels: CodecKernels
  /** All of the shared memory. */
  readonly #bytes: Uint8Array
  readonly #combine: Combine
  readonly #elemBytes: number

  constructor(options: {
    memory: OpMemory
    kernels: CodecKernels
    bytes: Uint8Array
    dtype: RegionDType
    combine: Combine
  }) {
    this.dtype = options.dtype
    this.#memory = options.memory
    this.#kernels = options.kernels
    this.#bytes = options.bytes
    this.#combine = options.combine
    this.#elemBytes = dtypeBytes[options.dtype]
  }

  stored(from: number, to: number): Stored {
    return { byteOffset: this.#memory.byteOf(from), bytes: (to - from) * this.#elemBytes }
  }

  store(): void {}

  combine(from: number, to: number, at: number): void {
    this.#kernels.reduce(this.#combine, this.dtype, this.#memory.byteOf(from), at, to - from)
  }

  encode(): void {}

  copy(from: number, to: number, at: number): void {
    const { byteOffset, bytes } = this.stored(from, to)
    this.#bytes.copyWithin(this.#memory.byteOf(at), byteOffset, byteOffset + bytes)
  }

  combineLocally(from: number, to: number, at: number): void {
    this.combine(at, at + to - from, this.#memory.byteOf(from))
  }

  scale(from: number, to: number, factor: number): void {
    // A mean of int32 is refused before it begins.
    if (this.dtype !== 'int32') this.#kernels.scale(this.dtype, this.#memory.byteOf(from), to - from, factor)
  }
}

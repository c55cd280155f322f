import type { CodecKernel, CodecKernels, Flag } from '@skein/codec'
import type { OpMemory } from './op-memory.ts'
import type { Payload, Stored } from './payload.ts'

export interface CodedPayloadOptions {
  readonly memory: OpMemory
  readonly kernels: CodecKernels
  readonly kernel: CodecKernel
  /** Where the encoded form of the whole op lies: `kernel.codec.encodedBytes(elems)`. */
  readonly encodedOffset: number
  /** Byte offset of the residual's element 0, where there is error feedback. */
  readonly residualOffset: number | undefined
  readonly elems: number
}

/**
 * float32 elements that travel in the blocks of a codec. A range is encoded before it is sent, and its own values become what the
 * others will decode, so that all ranks hold the same bits; what arrives is decoded and kept, so that it can be passed on as it is.
 */
export class CodedPayload implements Payload {
  readonly dtype = 'uint8'
  nonfinite = false
  readonly #options: CodedPayloadOptions
  /** Ranges that hold more than this rank's own values: their rounding is no loss of its own. */
  readonly #mixed: Uint8Array

  constructor(options: CodedPayloadOptions) {
    this.#options = options
    this.#mixed = new Uint8Array(Math.ceil(options.elems / options.kernel.codec.blockElems))
  }

  stored(from: number, to: number): Stored {
    const { kernel, encodedOffset } = this.#options
    const start = kernel.codec.encodedBytes(from)
    return { byteOffset: encodedOffset + start, bytes: kernel.codec.encodedBytes(to) - start }
  }

  store(from: number, to: number): void {
    const { memory, kernel } = this.#options
    this.#see(kernel.decode(memory.byteOf(from), this.stored(from, to).byteOffset, to - from))
    this.#mix(from, to)
  }

  combine(from: number, to: number, at: number): void {
    const { memory, kernel } = this.#options
    this.#see(kernel.decodeAdd(memory.byteOf(from), at, to - from))
    this.#mix(from, to)
  }

  encode(from: number, to: number): void {
    const { memory, kernel, residualOffset } = this.#options
    const at = this.stored(from, to).byteOffset
    const source = memory.byteOf(from)
    const isOwn = this.#mixed[Math.floor(from / kernel.codec.blockElems)] === 0
    if (residualOffset === undefined || !isOwn) this.#see(kernel.encode(at, source, to - from))
    else this.#see(kernel.encodeResidual(at, source, residualOffset + from * 4, to - from))
  }

  /** Codecs are for plans that move nothing within a rank. */
  copy(): void {
    throw new Error('a copy in a plan for a codec')
  }

  combineLocally(): void {
    throw new Error('a local reduction in a plan for a codec')
  }

  scale(from: number, to: number, factor: number): void {
    const { memory, kernels } = this.#options
    kernels.scale('float32', memory.byteOf(from), to - from, factor)
  }

  #see(flag: Flag): void {
    if (flag === 1) this.nonfinite = true
  }

  #mix(from: number, to: number): void {
    const { blockElems } = this.#options.kernel.codec
    this.#mixed.fill(1, Math.floor(from / blockElems), Math.ceil(to / blockElems))
  }
}

import type { Codec } from '@skein/codec'
import type { Simd } from '@skein/simd'
import type { OpMemory } from './op-memory.ts'
import type { Payload, Stored } from './payload.ts'

export interface CodedPayloadOptions {
  readonly memory: OpMemory
  readonly simd: Simd
  readonly codec: Codec
  /** Where the encoded form of the whole op lies: `codec.encodedBytes(elems)`. */
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
    this.#mixed = new Uint8Array(Math.ceil(options.elems / options.codec.blockElems))
  }

  stored(from: number, to: number): Stored {
    const { codec, encodedOffset } = this.#options
    const start = codec.encodedBytes(from)
    return { byteOffset: encodedOffset + start, bytes: codec.encodedBytes(to) - start }
  }

  store(from: number, to: number): void {
    const { memory, simd, codec } = this.#options
    const at = this.stored(from, to).byteOffset
    this.#see(simd.decode(codec.name, memory.byteOf(from), at, to - from, false))
    this.#mix(from, to)
  }

  combine(from: number, to: number, at: number): void {
    const { memory, simd, codec } = this.#options
    this.#see(simd.decode(codec.name, memory.byteOf(from), at, to - from, true))
    this.#mix(from, to)
  }

  encode(from: number, to: number): void {
    const { memory, simd, residualOffset, codec } = this.#options
    const at = this.stored(from, to).byteOffset
    const source = memory.byteOf(from)
    const isOwn = this.#mixed[Math.floor(from / codec.blockElems)] === 0
    const residual = residualOffset === undefined || !isOwn ? 0 : residualOffset + from * 4
    this.#see(simd.encode(codec.name, at, source, residual, to - from))
  }

  /** Codecs are for plans that move nothing within a rank. */
  copy(): void {
    throw new Error('a copy in a plan for a codec')
  }

  combineLocally(): void {
    throw new Error('a local reduction in a plan for a codec')
  }

  scale(from: number, to: number, factor: number): void {
    const { memory, simd } = this.#options
    simd.scale(memory.byteOf(from), to - from, factor)
  }

  #see(isNonfinite: boolean): void {
    if (isNonfinite) this.nonfinite = true
  }

  #mix(from: number, to: number): void {
    const { blockElems } = this.#options.codec
    this.#mixed.fill(1, Math.floor(from / blockElems), Math.ceil(to / blockElems))
  }
}

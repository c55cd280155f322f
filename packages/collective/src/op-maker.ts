import { type CodecKernels, type CodecName, createCodecKernels } from '@skein/codec'
import { dtypeBytes } from '@skein/core'
import { wrongArgument } from './check-group.ts'
import { CodedPayload } from './coded-payload.ts'
import type { Algorithm, OpKind } from './op-kind.ts'
import { OpMemory } from './op-memory.ts'
import type { OpParts } from './op-run.ts'
import { type Combine, PlainPayload } from './payload.ts'
import type { RankProgram } from './rank-program.ts'
import { type RegionDType, regionBytes, type TensorRegion } from './region.ts'

export interface OpMakerOptions {
  readonly memory: WebAssembly.Memory
  /** All that the group's pool has to give. */
  readonly poolBytes: number
  /** Takes the number of the next collective of a channel. */
  takeOpSeq(channel: number): number
}

interface OpBasics {
  readonly algorithm: Algorithm
  readonly program: RankProgram
  readonly channel: number
  /** A number that was taken before; left out: the next one. */
  readonly opSeq?: number
}

/** What an op on one region in place is. */
export interface InPlaceOp extends OpBasics {
  readonly kind: OpKind
  readonly region: TensorRegion
  readonly tag: number
  readonly combine?: Combine
  readonly codec?: CodecName | undefined
  readonly residual?: TensorRegion | undefined
}

/** What an op that moves elements from one region to another is. */
export interface ApartOp extends OpBasics {
  readonly input: TensorRegion
  readonly output: TensorRegion
  /** Of the whole op, the same on all ranks. */
  readonly elems: number
}

/** From what a caller wants and a program to what the executor runs: identity, borrowed memory, scratch, payload. */
export class OpMaker {
  readonly #options: OpMakerOptions
  readonly #kernels: CodecKernels
  /** All of the shared memory. */
  readonly #bytes: Uint8Array

  constructor(options: OpMakerOptions) {
    this.#options = options
    this.#kernels = createCodecKernels(options.memory)
    this.#bytes = new Uint8Array(options.memory.buffer)
  }

  /** @throws SKEIN_COLLECTIVE_ARGUMENT when the pool could never give what it needs; no number is taken then */
  inPlace(what: InPlaceOp): OpParts {
    const { kind, algorithm, region, program, channel, tag, combine, codec, residual } = what
    const kernel = codec === undefined ? undefined : this.#kernels.codec(codec)
    const scratchBytes = this.fitting(
      kernel === undefined ? (program.layers - 1) * regionBytes(region) : kernel.codec.encodedBytes(region.elems),
    )
    const opSeq = what.opSeq ?? this.#options.takeOpSeq(channel)
    return {
      identity: { opSeq, kind, algorithm, tag, elems: region.elems, channel },
      program,
      reads: [],
      writes: [region],
      scratchBytes,
      payloadAt: scratchOffset => {
        const memory = OpMemory.inPlace(region, scratchOffset)
        if (kernel === undefined) return this.plain(memory, region.dtype, combine)
        const places = { encodedOffset: scratchOffset, residualOffset: residual?.byteOffset, elems: region.elems }
        return new CodedPayload({ memory, kernels: this.#kernels, kernel, ...places })
      },
    }
  }

  /** As `inPlace`. */
  apart({ input, output, program, channel, algorithm, elems, opSeq }: ApartOp): OpParts {
    const space = program.space ?? { inputElems: input.elems, outputElems: output.elems, scratchElems: 0 }
    const scratchBytes = this.fitting(space.scratchElems * dtypeBytes[input.dtype])
    return {
      identity: {
        opSeq: opSeq ?? this.#options.takeOpSeq(channel),
        kind: 'all-to-all',
        algorithm,
        tag: 0,
        elems,
        channel,
      },
      program,
      reads: [input],
      writes: [output],
      scratchBytes,
      payloadAt: scratchOffset => this.plain(OpMemory.apart(space, input, output, scratchOffset), input.dtype),
    }
  }

  plain(memory: OpMemory, dtype: RegionDType, combine: Combine = 'sum'): PlainPayload {
    return new PlainPayload({ memory, kernels: this.#kernels, bytes: this.#bytes, dtype, combine })
  }

  copy(from: TensorRegion, to: TensorRegion): void {
    this.#bytes.copyWithin(to.byteOffset, from.byteOffset, from.byteOffset + regionBytes(from))
  }

  clear(region: TensorRegion): void {
    this.#bytes.fill(0, region.byteOffset, region.byteOffset + regionBytes(region))
  }

  /** Of any dtype but int32. */
  scale({ dtype, byteOffset, elems }: TensorRegion, factor: number): void {
    if (dtype !== 'int32') this.#kernels.scale(dtype, byteOffset, elems, factor)
  }

  /** The same number. @throws SKEIN_COLLECTIVE_ARGUMENT when the pool could never give so much */
  fitting(scratchBytes: number): number {
    const bytes = this.#options.poolBytes
    if (scratchBytes <= bytes) return scratchBytes
    throw wrongArgument(`an op needs ${scratchBytes} B of the group's pool, which has ${bytes} B`, {
      scratchBytes,
      bytes,
    })
  }
}

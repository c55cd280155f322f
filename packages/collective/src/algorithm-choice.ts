import { type CodecName, codecOf } from '@skein/codec'
import { dtypeBytes } from '@skein/core'
import type { LinkFigures } from '@skein/plan'
import { assumedLinks, chooseAlgorithm, poolBytesOf } from './choose-algorithm.ts'
import type { PlanRequest } from './plan-of.ts'
import type { TensorRegion } from './region.ts'

/** What a group knows of its links, and which algorithm it therefore takes. A function of figures that all ranks share. */
export class AlgorithmChoice {
  readonly #ranks: number
  readonly #segmentBytes: number
  readonly #poolBytes: number
  /** By the binary logarithm of the bytes: what was found to be quickest. */
  readonly #preferred = new Map<number, string>()
  #links: LinkFigures
  #ringOrder: readonly number[] | undefined

  constructor(options: { ranks: number; segmentBytes: number; poolBytes: number; links: LinkFigures | undefined }) {
    this.#ranks = options.ranks
    this.#segmentBytes = options.segmentBytes
    this.#poolBytes = options.poolBytes
    this.#links = options.links ?? assumedLinks
  }

  get links(): LinkFigures {
    return this.#links
  }

  get ringOrder(): readonly number[] | undefined {
    return this.#ringOrder
  }

  setLinks(links: LinkFigures, ringOrder: readonly number[] | undefined): void {
    this.#links = links
    this.#ringOrder = ringOrder
    this.#preferred.clear()
  }

  prefer(bytes: number, algorithm: string): void {
    this.#preferred.set(Math.round(Math.log2(bytes)), algorithm)
  }

  hasRoomFor(algorithm: string, bytes: number): boolean {
    return poolBytesOf(algorithm, bytes) <= this.#poolBytes
  }

  choose(kind: PlanRequest['kind'] | 'all-to-all', bytes: number, codec?: CodecName): string {
    const isPlain = kind === 'all-reduce' && codec === undefined
    const preferred = isPlain ? this.#preferred.get(Math.round(Math.log2(bytes))) : undefined
    if (preferred !== undefined && this.hasRoomFor(preferred, bytes)) return preferred
    const sizes = { ranks: this.#ranks, bytes, segmentBytes: this.#segmentBytes, poolBytes: this.#poolBytes }
    return chooseAlgorithm(kind, { ...sizes, isCoded: codec !== undefined }, this.#links)
  }

  /** Elements of the longest frame. */
  segmentElems(region: TensorRegion, codec?: CodecName): number {
    if (codec === undefined) return this.#segmentBytes / dtypeBytes[region.dtype]
    const { blockElems, encodedBytes } = codecOf(codec)
    // Shorter than plain ones: decoding and encoding take their time, and it is slow links that codecs are for.
    return Math.max(1, Math.floor(this.#segmentBytes / 4 / encodedBytes(blockElems))) * blockElems
  }
}

import { type CodecName, codecOf } from '@skein/codec'
import { dtypeBytes } from '@skein/core'
import type { LinkFigures, PredictedKind, Prediction } from '@skein/plan'
import { wrongArgument } from './check-group.ts'
import { assumedLinks, type ChoiceSizes, chooseAlgorithm, poolBytesOf, rankFitting } from './choose-algorithm.ts'
import type { PlanRequest } from './plan-of.ts'
import type { TensorRegion } from './region.ts'

/** What a group knows of its links, and which algorithm it therefore takes. A function of figures that all ranks share. */
export class AlgorithmChoice {
  readonly #ranks: number
  readonly #hosts: readonly number[] | undefined
  readonly #segmentBytes: number
  readonly #poolBytes: number
  /** By the binary logarithm of the bytes: what was found to be quickest. */
  readonly #preferred = new Map<number, string>()
  #links: LinkFigures
  #ringOrder: readonly number[] | undefined

  constructor(options: {
    ranks: number
    hosts: readonly number[] | undefined
    segmentBytes: number
    poolBytes: number
    links: LinkFigures | undefined
  }) {
    this.#ranks = options.ranks
    this.#hosts = options.hosts
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

  /** Those for which the pool is large enough, the quickest first. */
  rank(kind: PredictedKind, bytes: number): readonly Prediction[] {
    return rankFitting(kind, this.#sizes(bytes), this.#links)
  }

  choose(kind: PlanRequest['kind'] | 'all-to-all', bytes: number, codec?: CodecName): string {
    const isPlain = kind === 'all-reduce' && codec === undefined
    const preferred = isPlain ? this.#preferred.get(Math.round(Math.log2(bytes))) : undefined
    if (preferred !== undefined && poolBytesOf(preferred, bytes) <= this.#poolBytes) return preferred
    return chooseAlgorithm(kind, { ...this.#sizes(bytes), isCoded: codec !== undefined }, this.#links)
  }

  #sizes(bytes: number): ChoiceSizes {
    return {
      ranks: this.#ranks,
      bytes,
      segmentBytes: this.#segmentBytes,
      poolBytes: this.#poolBytes,
      ...(this.#hosts === undefined ? {} : { hosts: this.#hosts }),
    }
  }

  /** Elements of the longest frame. @throws SKEIN_COLLECTIVE_ARGUMENT where a block of the codec does not fit into one */
  segmentElems(region: TensorRegion, codec?: CodecName): number {
    if (codec === undefined) return this.#segmentBytes / dtypeBytes[region.dtype]
    const { blockElems, encodedBytes } = codecOf(codec)
    const blockBytes = encodedBytes(blockElems)
    if (blockBytes > this.#segmentBytes) {
      const what = `an op with the codec ${codec}, whose blocks have ${blockBytes} B, was asked of a group with segments of ${this.#segmentBytes} B`
      throw wrongArgument(what, { codec, blockBytes, segmentBytes: this.#segmentBytes })
    }
    // Shorter than plain ones: decoding and encoding take their time, and it is slow links that codecs are for.
    return Math.max(1, Math.floor(this.#segmentBytes / 4 / blockBytes)) * blockElems
  }
}

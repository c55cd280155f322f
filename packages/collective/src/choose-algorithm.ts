import { type LinkFigures, type PredictedKind, rankAlgorithms } from '@skein/plan'

/** What links are taken to be before they are measured: those between processes of one host. */
export const assumedLinks: LinkFigures = {
  latencyMs: 0.03,
  msPerByte: 1 / ((1.5 * 2 ** 30) / 1000),
  msPerMessage: 0.015,
}

export interface ChoiceSizes {
  readonly ranks: number
  readonly bytes: number
  readonly segmentBytes: number
  /** The group's pool: algorithms that need more are not looked at. */
  readonly poolBytes: number
  readonly isCoded?: boolean
}

/** Bytes of the pool that an algorithm takes for an op of so many bytes. */
export function poolBytesOf(algorithm: string, bytes: number): number {
  return (algorithm === 'recursive-doubling' ? 1 : algorithm === 'bruck' ? 2 : 0) * bytes
}

/**
 * The quickest algorithm by its closed form on these links. A pure function of numbers that all ranks share, so all choose alike.
 * With a codec it is the direct shape: each value is rounded twice, however many ranks there are.
 */
export function chooseAlgorithm(kind: PredictedKind, sizes: ChoiceSizes, links: LinkFigures): string {
  const ranked = rankAlgorithms(kind, sizes, links)
  const fitting = ranked.filter(({ algorithm }) => {
    if (sizes.isCoded === true) return algorithm === 'direct'
    return poolBytesOf(algorithm, sizes.bytes) <= sizes.poolBytes
  })
  return fitting[0]?.algorithm ?? ''
}

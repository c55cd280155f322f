import { type LinkFigures, type PredictedKind, type Prediction, rankAlgorithms } from '@skein/plan'

/** What links are taken to be before they are measured: those between processes of one host. */
export const assumedLinks: LinkFigures = {
  latencyMs: 0.03,
  msPerByte: 1 / ((1.5 * 2 ** 30) / 1000),
  msPerMessage: 0.015,
}

export interface ChoiceSizes {
  readonly ranks: number
  readonly bytes: number
  /** Host of each rank, where they are known. */
  readonly hosts?: readonly number[]
  readonly segmentBytes: number
  /** The group's pool: algorithms that need more are not looked at. */
  readonly poolBytes: number
  readonly isCoded?: boolean
}

/** For an op of so many bytes, how many times as many of the pool an algorithm takes at most. */
const timesOfPool: Readonly<Record<string, number>> = { 'recursive-doubling': 1, bruck: 2, 'two-level': 3 }

/** Bytes of the pool that an algorithm takes for an op of so many bytes. */
export function poolBytesOf(algorithm: string, bytes: number): number {
  return (timesOfPool[algorithm] ?? 0) * bytes
}

/** The algorithms for which the pool is large enough, the quickest first. */
export function rankFitting(kind: PredictedKind, sizes: ChoiceSizes, links: LinkFigures): readonly Prediction[] {
  return rankAlgorithms(kind, sizes, links).filter(
    ({ algorithm }) => poolBytesOf(algorithm, sizes.bytes) <= sizes.poolBytes,
  )
}

/**
 * The quickest algorithm by its closed form on these links. A pure function of numbers that all ranks share, so all choose alike.
 * With a codec it is the direct shape: each value is rounded twice, however many ranks there are.
 */
export function chooseAlgorithm(kind: PredictedKind, sizes: ChoiceSizes, links: LinkFigures): string {
  if (sizes.isCoded === true) return 'direct'
  return rankFitting(kind, sizes, links)[0]?.algorithm ?? ''
}

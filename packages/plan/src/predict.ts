/** What the links between the ranks cost, as one figure for all: that of the worst pair. */
export interface LinkFigures {
  /** α: from the send of an empty message to its arrival. */
  readonly latencyMs: number
  /** β: 1 / bandwidth. */
  readonly msPerByte: number
  /** Work of a rank for each message it sends or receives, whatever its size. Default 0. */
  readonly msPerMessage?: number
  /** How much longer a rank takes for what comes from several others at once than for as much from one. Default 1. */
  readonly incast?: number
}

export interface OpSizes {
  readonly ranks: number
  /** Of the whole buffer; for an all-to-all of a rank's input. */
  readonly bytes: number
  /** Longest message, for algorithms that follow themselves in pieces. Default 256 KiB. */
  readonly segmentBytes?: number
}

const defaultSegmentBytes = 256 * 1024

/** Rounds, bytes and messages on the longest path of an algorithm: its time is rounds · α + bytes · β + messages · cost of one. */
interface Path {
  readonly rounds: number
  readonly bytes: number
  readonly messages: number
  /** Whether the bytes come from several ranks at once. */
  readonly isIncast?: boolean
}

type Form = (sizes: { readonly ranks: number; readonly bytes: number; readonly segmentBytes: number }) => Path

const lgUp = (n: number) => Math.ceil(Math.log2(n))
const lgDown = (n: number) => Math.floor(Math.log2(n))
/** 1 where N is no power of two. */
const folds = (n: number) => (lgUp(n) === lgDown(n) ? 0 : 1)

const ringLike =
  (passes: number): Form =>
  ({ ranks, bytes }) => {
    const rounds = passes * (ranks - 1)
    return { rounds, bytes: (rounds * bytes) / ranks, messages: 2 * rounds }
  }
const directLike =
  (passes: number): Form =>
  ({ ranks, bytes }) => ({
    rounds: passes,
    bytes: (passes * (ranks - 1) * bytes) / ranks,
    messages: 2 * passes * (ranks - 1),
    isIncast: ranks > 2,
  })
const treeLike =
  (passes: number): Form =>
  ({ ranks, bytes }) => {
    const rounds = passes * lgUp(ranks)
    return { rounds, bytes: rounds * bytes, messages: 2 * rounds }
  }

/** The closed forms, by kind and algorithm: reference section 1 of Thakur, Rabenseifner & Gropp 2005; Sanders et al. 2009; Bruck et al. 1997. */
const forms = {
  'all-reduce': {
    ring: ringLike(2),
    direct: directLike(2),
    tree: treeLike(2),
    star: ({ ranks, bytes }) => ({
      rounds: 2,
      bytes: 2 * (ranks - 1) * bytes,
      messages: 2 * (ranks - 1),
      isIncast: ranks > 2,
    }),
    'recursive-doubling': ({ ranks, bytes }) => {
      const rounds = lgDown(ranks) + 2 * folds(ranks)
      return { rounds, bytes: rounds * bytes, messages: 2 * rounds }
    },
    'halving-doubling': ({ ranks, bytes }) => {
      const survivors = 2 ** lgDown(ranks)
      const rounds = 2 * lgDown(ranks) + 2 * folds(ranks)
      return {
        rounds,
        bytes: (2 * (survivors - 1) * bytes) / survivors + 2 * folds(ranks) * bytes,
        messages: 2 * rounds,
      }
    },
    'double-tree': ({ ranks, bytes, segmentBytes }) => {
      const rounds = 2 * lgUp(ranks)
      const pieces = Math.ceil(bytes / segmentBytes)
      return {
        rounds,
        bytes: 2 * bytes + rounds * Math.min(segmentBytes, bytes / 2),
        messages: 2 * (rounds + 2 * pieces),
      }
    },
  },
  'reduce-scatter': { ring: ringLike(1), direct: directLike(1) },
  'all-gather': { ring: ringLike(1), direct: directLike(1) },
  broadcast: { tree: treeLike(1) },
  reduce: { tree: treeLike(1) },
  gather: { direct: directLike(1) },
  scatter: { direct: directLike(1) },
  'all-to-all': {
    pairwise: ({ ranks, bytes }) => ({
      rounds: ranks - 1,
      bytes: ((ranks - 1) * bytes) / ranks,
      messages: 2 * (ranks - 1),
    }),
    direct: directLike(1),
    bruck: ({ ranks, bytes }) => {
      let blocks = 0
      for (let bit = 1; bit < ranks; bit *= 2) for (let i = 1; i < ranks; i++) if (i & bit) blocks++
      return { rounds: lgUp(ranks), bytes: (blocks * bytes) / ranks, messages: 2 * lgUp(ranks) }
    },
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, Form>>>>

export type PredictedKind = keyof typeof forms

export interface Prediction {
  readonly algorithm: string
  readonly predictedMs: number
}

/** Every algorithm of a kind that has a closed form, the quickest first; of equals the one with fewer rounds. */
export function rankAlgorithms(kind: PredictedKind, sizes: OpSizes, links: LinkFigures): readonly Prediction[] {
  const full = { ...sizes, segmentBytes: sizes.segmentBytes ?? defaultSegmentBytes }
  return Object.entries<Form>(forms[kind])
    .map(([algorithm, form]) => {
      const path = form(full)
      return { algorithm, predictedMs: timeOf(path, links), rounds: path.rounds }
    })
    .sort((a, b) => a.predictedMs - b.predictedMs || a.rounds - b.rounds)
    .map(({ algorithm, predictedMs }) => ({ algorithm, predictedMs }))
}

/** The closed form of one algorithm; undefined where there is none. */
export function predictMs(
  kind: PredictedKind,
  algorithm: string,
  sizes: OpSizes,
  links: LinkFigures,
): number | undefined {
  return rankAlgorithms(kind, sizes, links).find(prediction => prediction.algorithm === algorithm)?.predictedMs
}

function timeOf({ rounds, bytes, messages, isIncast = false }: Path, links: LinkFigures): number {
  const { latencyMs, msPerByte, msPerMessage = 0, incast = 1 } = links
  return rounds * latencyMs + bytes * msPerByte * (isIncast ? incast : 1) + messages * msPerMessage
}

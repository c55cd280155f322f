import { closedForms, type Form, type Path } from './closed-forms.ts'

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
  /** Time to add a byte that has arrived, while the next may arrive. Default 0. */
  readonly reduceMsPerByte?: number
  /** The links within a host, for algorithms that know the hosts. Default: like the others. */
  readonly withinHost?: { readonly latencyMs: number; readonly msPerByte: number }
}

export interface OpSizes {
  readonly ranks: number
  /** Of the whole buffer; for an all-to-all of a rank's input. */
  readonly bytes: number
  /** Longest message, for algorithms that follow themselves in pieces. Default 256 KiB. */
  readonly segmentBytes?: number
  /** Host of each rank; without it algorithms that need hosts are left out. */
  readonly hosts?: readonly number[]
}

const defaultSegmentBytes = 256 * 1024

export type PredictedKind = keyof typeof closedForms

export interface Prediction {
  readonly algorithm: string
  readonly predictedMs: number
}

/** Every algorithm of a kind that these sizes allow, the quickest first; of equals the one with fewer rounds. */
export function rankAlgorithms(kind: PredictedKind, sizes: OpSizes, links: LinkFigures): readonly Prediction[] {
  const { ranks, bytes, segmentBytes = defaultSegmentBytes, hosts } = sizes
  return Object.entries<Form>(closedForms[kind])
    .flatMap(([algorithm, form]) => {
      const path = form({ ranks, bytes, segmentBytes, hosts })
      if (path === undefined) return []
      return [{ algorithm, predictedMs: timeOf(path, links), rounds: path.rounds + (path.within?.rounds ?? 0) }]
    })
    .sort((a, b) => a.predictedMs - b.predictedMs || a.rounds - b.rounds)
    .map(({ algorithm, predictedMs }) => ({ algorithm, predictedMs }))
}

/** The closed form of one algorithm; undefined where there is none, or these sizes do not allow it. */
export function predictMs(
  kind: PredictedKind,
  algorithm: string,
  sizes: OpSizes,
  links: LinkFigures,
): number | undefined {
  return rankAlgorithms(kind, sizes, links).find(prediction => prediction.algorithm === algorithm)?.predictedMs
}

/** The figures of the worst pair: `pairs[i][j]` is that from rank i to rank j; what stands in the diagonal does not count. */
export function worstLink(pairs: readonly (readonly { readonly latencyMs: number; readonly msPerByte: number }[])[]): {
  readonly latencyMs: number
  readonly msPerByte: number
} {
  let worst = { latencyMs: 0, msPerByte: 0 }
  for (const [src, row] of pairs.entries()) {
    for (const [dst, { latencyMs, msPerByte }] of row.entries()) {
      if (src === dst) continue
      worst = { latencyMs: Math.max(worst.latencyMs, latencyMs), msPerByte: Math.max(worst.msPerByte, msPerByte) }
    }
  }
  return worst
}

function timeOf({ rounds, bytes, messages, added = 0, within, isIncast = false }: Path, links: LinkFigures): number {
  const { latencyMs, msPerByte, msPerMessage = 0, reduceMsPerByte = 0, withinHost = links, incast = 1 } = links
  const across = rounds * latencyMs + bytes * msPerByte * (isIncast ? incast : 1)
  const inside = within === undefined ? 0 : within.rounds * withinHost.latencyMs + within.bytes * withinHost.msPerByte
  return across + inside + messages * msPerMessage + added * reduceMsPerByte
}

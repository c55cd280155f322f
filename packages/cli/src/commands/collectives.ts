import {
  algorithmsFor,
  assertValidPlan,
  type CollectiveKind,
  drawPlan,
  drawPlanSvg,
  generatePlan,
  type LinkFigures,
  predictMs,
  type PredictedKind,
  sentElems,
  simulatePlan,
} from '@skein/plan'
import { columnsOf } from '../view/columns.ts'
import { formatBytes, formatDuration } from '../view/format.ts'

export interface ExplainOptions {
  readonly ranks: number
  readonly bytes: number
  readonly kind: PredictedKind
  readonly algorithm?: string
  /** Ranks are dealt to so many hosts in runs of equal length; without it nothing is known of hosts. */
  readonly hosts?: number
  readonly latencyMs: number
  readonly mbit: number
  readonly segmentBytes: number
  readonly svg: boolean
  readonly json: boolean
}

/** Columns of a picture, and messages of the algorithm that is drawn at most, so that it stays a picture. */
const columns = 96
const mostDrawnSegments = 8

interface Explained {
  readonly algorithm: string
  /** Closed form; undefined where there is none. */
  readonly predictedMs: number | undefined
  readonly simulatedMs: number
  /** Of the rank that sends most. */
  readonly bytesSent: number
}

/**
 * `skein collectives explain`: what each algorithm would take on such links, by its closed form and simulated, and a picture of the
 * quickest (or the one asked for): who sends what to whom, when.
 */
export function explain(options: ExplainOptions): number {
  const { ranks, bytes, kind, latencyMs, mbit, segmentBytes } = options
  const links: LinkFigures = { latencyMs, msPerByte: 8 / (mbit * 1000) }
  const hosts =
    options.hosts === undefined
      ? {}
      : { hosts: Array.from({ length: ranks }, (_, rank) => Math.floor((rank * (options.hosts ?? 1)) / ranks)) }
  const sizes = {
    ranks,
    elems: Math.ceil(bytes / 4),
    segmentElems: Math.max(1, Math.floor(segmentBytes / 4)),
    ...hosts,
  }
  const planOf = (algorithm: string) => generatePlan(kind as CollectiveKind, algorithm, sizes)

  const table = algorithmsFor(kind as CollectiveKind, sizes)
    .map((algorithm): Explained => {
      const plan = planOf(algorithm)
      const mostElems = Math.max(...plan.ops.map((_, rank) => sentElems(plan, rank)))
      return {
        algorithm,
        predictedMs: predictMs(kind, algorithm, { ranks, bytes, segmentBytes, ...hosts }, links),
        simulatedMs: simulatePlan(plan, links).totalMs,
        bytesSent: mostElems * 4,
      }
    })
    .sort((a, b) => (a.predictedMs ?? a.simulatedMs) - (b.predictedMs ?? b.simulatedMs))
  const algorithm = options.algorithm ?? (table[0] as Explained).algorithm
  // Fewer pieces than are sent in truth, so that each can be seen. Before any answer: it refuses an algorithm that there is not.
  const segmentElems = Math.max(sizes.segmentElems, Math.ceil(sizes.elems / mostDrawnSegments))
  const drawn = generatePlan(kind as CollectiveKind, algorithm, { ...sizes, segmentElems })
  assertValidPlan(drawn)
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ kind, ranks, bytes, links, algorithm, algorithms: table })}\n`)
    return 0
  }
  if (options.svg) {
    process.stdout.write(`${drawPlanSvg(drawn, { costs: links })}\n`)
    return 0
  }
  const lines = [
    `${kind} of ${formatBytes(bytes)} among ${ranks} ranks; links of ${mbit} Mbit/s, ${latencyMs} ms one way`,
    '',
    ...tableLines(table, algorithm),
    '',
    drawPlan(drawn, { costs: links, columns }),
    '',
    `Time goes to the right. A digit is the peer; > sending, + receiving and adding, = receiving, . idle. Drawn in at most ${mostDrawnSegments} pieces.`,
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
  return 0
}

function tableLines(table: readonly Explained[], chosen: string): string[] {
  const rows = [
    ['algorithm', 'closed form', 'simulated', 'sent by one rank at most'],
    ...table.map(({ algorithm, predictedMs, simulatedMs, bytesSent }) => [
      `${algorithm === chosen ? '→ ' : '  '}${algorithm}`,
      predictedMs === undefined ? '–' : formatMs(predictedMs),
      formatMs(simulatedMs),
      formatBytes(bytesSent),
    ]),
  ]
  return columnsOf(rows)
}

const formatMs = (ms: number) => (ms < 100 ? `${ms.toPrecision(3)} ms` : formatDuration(ms))

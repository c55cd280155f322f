import { blockRange, type CollectivePlan, type PlanOp } from './plan.ts'

/** The pieces into which the ranges of some ops cut a rank's addresses: no range begins or ends inside a cell. */
export interface Cells {
  /** Borders in rising order; cell i is [borders[i], borders[i+1]). */
  readonly borders: readonly number[]
  readonly count: number
  /** Cells [first, last) that the range is made of; none for a token. */
  of(range: ElementRange): readonly [first: number, last: number]
}

/** Elements [from, to). */
export interface ElementRange {
  readonly from: number
  readonly to: number
}

/** What an op reads and what it writes; a token neither. */
export function rangesOf(op: PlanOp): { readonly reads?: ElementRange; readonly writes?: ElementRange } {
  if (op.from === op.to) return {}
  switch (op.op) {
    case 'send':
      return { reads: op }
    case 'recv':
    case 'recvReduce':
    case 'encode':
      return { writes: op }
    case 'copy':
    case 'reduce':
      return { reads: op, writes: { from: op.at, to: op.at + op.to - op.from } }
  }
}

export function cellsOf(ops: Iterable<PlanOp>, moreBorders: Iterable<number> = []): Cells {
  const unique = new Set<number>(moreBorders)
  const add = (range: ElementRange | undefined) => {
    if (range === undefined) return
    unique.add(range.from)
    unique.add(range.to)
  }
  for (const op of ops) {
    const { reads, writes } = rangesOf(op)
    add(reads)
    add(writes)
  }
  const borders = [...unique].sort((a, b) => a - b)
  const index = new Map(borders.map((border, i) => [border, i]))
  return {
    borders,
    count: Math.max(0, borders.length - 1),
    of: ({ from, to }) => (from === to ? [0, 0] : [index.get(from) as number, index.get(to) as number]),
  }
}

/** Where in the buffer of an in-place plan a range or a block begins, in rising order, 0 first; the same in each copy of the buffer. */
export function placesOf(plan: CollectivePlan): number[] {
  const { elems, ranks, collective } = plan
  if (elems === 0) return []
  const places = new Set([0])
  const { kind } = collective
  if (kind === 'reduce-scatter' || kind === 'all-gather' || kind === 'gather' || kind === 'scatter') {
    for (let block = 0; block < ranks; block++) places.add(blockRange(elems, ranks, block)[0])
  }
  for (const ops of plan.ops) {
    for (const op of ops) {
      const { reads, writes } = rangesOf(op)
      for (const range of [reads, writes]) {
        if (range === undefined) continue
        places.add(range.from % elems)
        places.add(range.to % elems)
      }
    }
  }
  return [...places].sort((a, b) => a - b)
}

import type { PlanOp } from './plan.ts'

/** The pieces into which the ranges of some ops cut a buffer: no range begins or ends inside a cell. */
export interface Cells {
  /** Borders in rising order; cell i is [borders[i], borders[i+1]). */
  readonly borders: readonly number[]
  readonly count: number
  /** Cells [first, last) that an op's range is made of; none for a token. */
  of(op: PlanOp): readonly [first: number, last: number]
}

export function cellsOf(ops: Iterable<PlanOp>, moreBorders: readonly number[] = []): Cells {
  const unique = new Set<number>(moreBorders)
  for (const op of ops) {
    if (op.from === op.to) continue
    unique.add(op.from)
    unique.add(op.to)
  }
  const borders = [...unique].sort((a, b) => a - b)
  const index = new Map(borders.map((border, i) => [border, i]))
  return {
    borders,
    count: Math.max(0, borders.length - 1),
    of: op => (op.from === op.to ? [0, 0] : [index.get(op.from) as number, index.get(op.to) as number]),
  }
}

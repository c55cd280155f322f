import type { CollectivePlan, PlanOp, RankSpace } from './plan.ts'
import { type Transfer, transferAt } from './progress.ts'

/** Elements that came from one place: `elems` from address `at` of the input of `rank`; rank -1: nothing of meaning. */
interface Piece {
  readonly rank: number
  readonly at: number
  readonly elems: number
}

const garbage = -1

/** Per rank what lies at each address, as pieces of the ranks' inputs: for plans that only move elements. */
export class MovedValues {
  readonly #plan: CollectivePlan
  readonly #spaces: readonly RankSpace[]
  readonly #memories: Piece[][]
  #work = 0

  constructor(plan: CollectivePlan, spaces: readonly RankSpace[]) {
    this.#plan = plan
    this.#spaces = spaces
    this.#memories = spaces.map(({ inputElems, outputElems, scratchElems }, rank) =>
      joined([
        { rank, at: 0, elems: inputElems },
        { rank: garbage, at: 0, elems: outputElems + scratchElems },
      ]),
    )
  }

  /** Pieces looked at: copies of copies can double them, which no one can tell beforehand. */
  get work(): number {
    return this.#work
  }

  local(rank: number, op: PlanOp): void {
    if (op.op === 'copy') this.#write(rank, op.at, this.#read(rank, op.from, op.to))
  }

  apply({ src, send, dst, recv }: Transfer): void {
    const { from, to } = transferAt(this.#plan, src, send)
    this.#write(dst, transferAt(this.#plan, dst, recv).from, this.#read(src, from, to))
  }

  findWrong(): string | undefined {
    const { collective } = this.#plan
    const counts = collective.kind === 'all-to-all' ? collective.counts : []
    for (const [rank, { inputElems, outputElems }] of this.#spaces.entries()) {
      const wanted = counts.map(
        (row, src): Piece => ({ rank: src, at: sum(row.slice(0, rank)), elems: row[rank] as number }),
      )
      const actual = this.#read(rank, inputElems, inputElems + outputElems)
      const should = joined(wanted)
      const first = actual.findIndex((piece, i) => !isSame(piece, should[i]))
      if (first < 0) continue
      const rest = (pieces: readonly Piece[]) => (first === 0 ? '' : '… ') + describe(pieces.slice(first))
      return `the output of rank ${rank} ends as ${rest(actual)}, not as ${rest(should)}`
    }
    return undefined
  }

  #read(rank: number, from: number, to: number): Piece[] {
    const pieces: Piece[] = []
    let start = 0
    for (const piece of this.#memories[rank] as Piece[]) {
      const first = Math.max(from, start)
      const last = Math.min(to, start + piece.elems)
      if (first < last) pieces.push({ rank: piece.rank, at: piece.at + first - start, elems: last - first })
      start += piece.elems
    }
    return joined(pieces)
  }

  #write(rank: number, at: number, pieces: readonly Piece[]): void {
    const end = at + sum(pieces.map(piece => piece.elems))
    const before = this.#read(rank, 0, at)
    const after = this.#read(rank, end, Number.POSITIVE_INFINITY)
    const memory = joined([...before, ...pieces, ...after])
    this.#memories[rank] = memory
    this.#work += memory.length
  }
}

const isSame = (a: Piece, b: Piece | undefined) => a.rank === b?.rank && a.at === b.at && a.elems === b.elems

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)

/** The same with neighbours that belong together made one, and without empty ones. */
function joined(pieces: readonly Piece[]): Piece[] {
  const list: Piece[] = []
  for (const piece of pieces) {
    const last = list.at(-1)
    if (piece.elems === 0) continue
    const goesOn = last?.rank === piece.rank && (piece.rank === garbage || last.at + last.elems === piece.at)
    if (last !== undefined && goesOn) list[list.length - 1] = { ...last, elems: last.elems + piece.elems }
    else list.push(piece)
  }
  return list
}

/** The first few, for messages. */
function describe(pieces: readonly Piece[]): string {
  const terms = pieces
    .slice(0, 8)
    .map(({ rank, at, elems }) => (rank === garbage ? `garbage×${elems}` : `r${rank}[${at},${at + elems})`))
  if (pieces.length > 8) terms.push(`… ${pieces.length - 8} more`)
  return terms.length === 0 ? 'nothing' : terms.join(' ')
}

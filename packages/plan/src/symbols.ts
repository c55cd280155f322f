import { type Cells, cellsOf, type ElementRange, placesOf } from './cells.ts'
import { dependenciesOf } from './dependencies.ts'
import { blockRange, type CollectivePlan, type PlanOp } from './plan.ts'
import { type Transfer, transferAt } from './progress.ts'

/** Per rank and cell: how often each rank's value is in the sum; the last slot counts values that nobody meant to use. */
export class SymbolicBuffers {
  readonly #plan: CollectivePlan
  readonly #cells: Cells
  readonly #sums: Uint16Array[][]
  /** Per rank and cell, where the plan encodes: whether the encoded form is that of the present value. */
  readonly #encoded: boolean[][] | undefined
  /** All is told beforehand. */
  readonly work = 0
  #wrongSend: string | undefined

  constructor(plan: CollectivePlan) {
    this.#plan = plan
    const { elems, layers = 1 } = plan
    const places = placesOf(plan)
    const inLayer = (layer: number) => places.map(place => layer * elems + place)
    const borders = Array.from({ length: layers }, (_, layer) => inLayer(layer)).flat()
    this.#cells = cellsOf([], elems === 0 ? [] : [...borders, elems * layers])
    const isCoded = plan.ops.some(ops => ops.some(op => op.op === 'encode'))
    this.#encoded = isCoded ? plan.ops.map(() => Array<boolean>(this.#cells.count).fill(false)) : undefined
    this.#sums = plan.ops.map((_, rank) =>
      Array.from({ length: this.#cells.count }, (_, cell) =>
        this.#only(this.#isBuffer(cell) && this.#holds(rank, cell) ? rank : plan.ranks),
      ),
    )
  }

  #only(slot: number): Uint16Array {
    const sum = new Uint16Array(this.#plan.ranks + 1)
    sum[slot] = 1
    return sum
  }

  /** Whether the cell is of the buffer itself and not of a copy that is scratch. */
  #isBuffer(cell: number): boolean {
    return (this.#cells.borders[cell] as number) < this.#plan.elems
  }

  #blockOf(cell: number): number {
    const { ranks, elems } = this.#plan
    const from = this.#cells.borders[cell] as number
    for (let b = 0; b < ranks; b++) if (from < blockRange(elems, ranks, b)[1]) return b
    return ranks
  }

  /** Whether the rank's buffer holds something of meaning here at the start. */
  #holds(rank: number, cell: number): boolean {
    const { collective } = this.#plan
    const { kind } = collective
    if (kind === 'all-gather' || kind === 'gather') return this.#blockOf(cell) === rank
    return (kind !== 'broadcast' && kind !== 'scatter') || rank === collective.root
  }

  local(rank: number, op: PlanOp): void {
    if (op.op === 'encode') this.#mark(rank, this.#cells.of(op), true)
    else if (op.op === 'copy' || op.op === 'reduce') {
      const into = { from: op.at, to: op.at + op.to - op.from }
      this.#mark(rank, this.#cells.of(into), false)
      this.#move(rank, op, rank, into, op.op === 'reduce')
    }
  }

  #mark(rank: number, [first, last]: readonly [number, number], isEncoded: boolean): void {
    this.#encoded?.[rank]?.fill(isEncoded, first, last)
  }

  apply({ src, dst, recv, send }: Transfer): void {
    const [out, into] = [transferAt(this.#plan, src, send), transferAt(this.#plan, dst, recv)]
    const [first, last] = this.#cells.of(out)
    if (this.#encoded?.[src]?.slice(first, last).includes(false)) {
      this.#wrongSend ??= `op ${send} of rank ${src} sends [${out.from},${out.to}) to ${dst} without its encoded form`
    }
    this.#mark(dst, this.#cells.of(into), into.op === 'recv')
    this.#move(src, out, dst, into, into.op === 'recvReduce')
  }

  #move(src: number, out: ElementRange, dst: number, into: ElementRange, adds: boolean): void {
    const [first, last] = this.#cells.of(out)
    const shift = this.#cells.of(into)[0] - first
    for (let cell = first; cell < last; cell++) {
      const arriving = (this.#sums[src] as Uint16Array[])[cell] as Uint16Array
      const there = (this.#sums[dst] as Uint16Array[])[cell + shift] as Uint16Array
      for (const [slot, count] of arriving.entries()) there[slot] = adds ? (there[slot] as number) + count : count
    }
  }

  findWrong(): string | undefined {
    if (this.#wrongSend !== undefined) return this.#wrongSend
    const { borders } = this.#cells
    for (const [rank, sums] of this.#sums.entries()) {
      for (const [cell, sum] of sums.entries()) {
        const wanted = this.#isBuffer(cell) ? this.#wanted(rank, cell) : undefined
        if (wanted === undefined || sum.every((count, slot) => count === wanted[slot])) continue
        const range = `[${borders[cell]},${borders[cell + 1]})`
        return `elements ${range} of rank ${rank} end as ${this.#describe(sum)}, not as ${this.#describe(wanted)}`
      }
    }
    return undefined
  }

  #wanted(rank: number, cell: number): Uint16Array | undefined {
    const { collective, ranks } = this.#plan
    const all = new Uint16Array(ranks + 1).fill(1, 0, ranks)
    switch (collective.kind) {
      case 'all-reduce':
        return all
      case 'reduce-scatter':
        return this.#blockOf(cell) === rank ? all : undefined
      case 'all-gather':
        return this.#only(this.#blockOf(cell))
      case 'broadcast':
        return this.#only(collective.root)
      case 'reduce':
        return rank === collective.root ? all : undefined
      case 'gather':
        return rank === collective.root ? this.#only(this.#blockOf(cell)) : undefined
      case 'scatter':
        return this.#blockOf(cell) === rank ? this.#only(collective.root) : undefined
      case 'all-to-all':
      case 'barrier':
        return undefined
    }
  }

  #describe(sum: Uint16Array): string {
    const terms: string[] = []
    for (const [slot, count] of sum.entries()) {
      if (count === 0) continue
      const name = slot === this.#plan.ranks ? 'garbage' : `r${slot}`
      terms.push(count === 1 ? name : `${count}·${name}`)
    }
    return terms.length === 0 ? 'nothing' : terms.join('+')
  }
}

/**
 * Which ranks an op can only follow: those whose begin is known through the ops it depends on, not those that happened to be
 * quick. Kept for barriers.
 */
export class Hearsay {
  readonly #plan: CollectivePlan
  readonly #dependencies: readonly (readonly (readonly number[])[])[]
  /** Per rank and receive: the ranks known to have begun once it is done. */
  readonly #known: Map<number, ReadonlySet<number>>[]
  /** All is told beforehand. */
  readonly work = 0

  constructor(plan: CollectivePlan) {
    this.#plan = plan
    this.#dependencies = plan.ops.map(dependenciesOf)
    this.#known = plan.ops.map(() => new Map())
  }

  #before(rank: number, index: number): Set<number> {
    const known = new Set([rank])
    for (const earlier of this.#dependencies[rank]?.[index] ?? []) {
      for (const heard of this.#known[rank]?.get(earlier) ?? []) known.add(heard)
    }
    return known
  }

  /** A barrier has none. */
  local(): void {}

  apply({ src, send, dst, recv }: Transfer): void {
    this.#known[dst]?.set(recv, new Set([...this.#before(dst, recv), ...this.#before(src, send)]))
  }

  findWrong(): string | undefined {
    for (const [rank, heard] of this.#known.entries()) {
      const all = new Set([rank, ...[...heard.values()].flatMap(known => [...known])])
      for (let other = 0; other < this.#plan.ranks; other++) {
        if (!all.has(other)) return `rank ${rank} can end before rank ${other} has begun`
      }
    }
    return undefined
  }
}

import { type Cells, cellsOf } from './cells.ts'
import { dependenciesOf } from './dependencies.ts'
import { blockRange, type CollectivePlan } from './plan.ts'
import { opAt, type Transfer } from './progress.ts'

/** Per rank and cell: how often each rank's value is in the sum; the last slot counts values that nobody meant to use. */
export class SymbolicBuffers {
  readonly #plan: CollectivePlan
  readonly #cells: Cells
  readonly #sums: Uint16Array[][]

  constructor(plan: CollectivePlan) {
    this.#plan = plan
    const { kind } = plan.collective
    const byBlock = kind === 'reduce-scatter' || kind === 'all-gather'
    const blocks = byBlock ? plan.ops.map((_, b) => blockRange(plan.elems, plan.ranks, b)[1]) : []
    this.#cells = cellsOf(plan.ops.flat(), plan.elems === 0 ? [] : [0, plan.elems, ...blocks])
    this.#sums = plan.ops.map((_, rank) =>
      Array.from({ length: this.#cells.count }, (_, cell) => this.#only(this.#holds(rank, cell) ? rank : plan.ranks)),
    )
  }

  #only(slot: number): Uint16Array {
    const sum = new Uint16Array(this.#plan.ranks + 1)
    sum[slot] = 1
    return sum
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
    if (collective.kind === 'all-gather') return this.#blockOf(cell) === rank
    return collective.kind !== 'broadcast' || rank === collective.root
  }

  apply({ src, dst, recv }: Transfer): void {
    const op = opAt(this.#plan, dst, recv)
    const [first, last] = this.#cells.of(op)
    for (let cell = first; cell < last; cell++) {
      const arriving = (this.#sums[src] as Uint16Array[])[cell] as Uint16Array
      const there = (this.#sums[dst] as Uint16Array[])[cell] as Uint16Array
      for (const [slot, count] of arriving.entries()) {
        there[slot] = op.op === 'recv' ? count : (there[slot] as number) + count
      }
    }
  }

  findWrong(): string | undefined {
    const { borders } = this.#cells
    for (const [rank, sums] of this.#sums.entries()) {
      for (const [cell, sum] of sums.entries()) {
        const wanted = this.#wanted(rank, cell)
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

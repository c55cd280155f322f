import type { Ms } from '@skein/core'

interface Entry {
  readonly from: string
  readonly sinceMs: Ms
}

/**
 * Those that are here and have not shown who they are: so many at most, each for a bounded time. One too many puts out the oldest of the
 * address that has most here, so that whoever floods the port puts out its own, and a newcomer from elsewhere stays. Pure: it is told
 * the time.
 */
export class Strangers<T> {
  readonly #max: number
  /** Longest here first. */
  readonly #all = new Map<T, Entry>()
  readonly #byAddress = new Map<string, Set<T>>()

  constructor(max: number) {
    this.#max = max
  }

  get size(): number {
    return this.#all.size
  }

  /** Takes one in; returns who has to go for it. */
  add(one: T, from: string, nowMs: Ms): T | undefined {
    const outgoing = this.#all.size >= this.#max ? this.#oldestOfBusiest() : undefined
    if (outgoing !== undefined) this.remove(outgoing)
    this.#insert(one, { from, sinceMs: nowMs })
    return outgoing
  }

  /** It did what it may, and gets its time anew. */
  renew(one: T, nowMs: Ms): void {
    const entry = this.#all.get(one)
    if (entry === undefined) return
    this.remove(one)
    this.#insert(one, { from: entry.from, sinceMs: nowMs })
  }

  /** False if it was not here. */
  remove(one: T): boolean {
    const entry = this.#all.get(one)
    if (entry === undefined) return false
    this.#all.delete(one)
    const neighbours = this.#byAddress.get(entry.from)
    neighbours?.delete(one)
    if (neighbours?.size === 0) this.#byAddress.delete(entry.from)
    return true
  }

  /** Those that have been here since before `beforeMs`; they stay until removed. */
  since(beforeMs: Ms): T[] {
    const late: T[] = []
    for (const [one, { sinceMs }] of this.#all) {
      if (sinceMs >= beforeMs) break
      late.push(one)
    }
    return late
  }

  [Symbol.iterator](): IterableIterator<T> {
    return this.#all.keys()
  }

  #insert(one: T, entry: Entry): void {
    this.#all.set(one, entry)
    const neighbours = this.#byAddress.get(entry.from)
    if (neighbours === undefined) this.#byAddress.set(entry.from, new Set([one]))
    else neighbours.add(one)
  }

  #oldestOfBusiest(): T | undefined {
    let busiest: Set<T> | undefined
    for (const ones of this.#byAddress.values()) if (ones.size > (busiest?.size ?? 0)) busiest = ones
    return busiest?.values().next().value
  }
}

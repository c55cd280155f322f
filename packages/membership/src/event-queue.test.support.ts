/** Discrete time: what is planned for a moment happens then, and in the order of planning where moments are equal. */
export class EventQueue {
  nowMs = 0
  readonly #heap: { readonly atMs: number; readonly order: number; readonly run: () => void }[] = []
  #order = 0

  get isEmpty(): boolean {
    return this.#heap.length === 0
  }

  after(ms: number, run: () => void): void {
    const heap = this.#heap
    heap.push({ atMs: this.nowMs + ms, order: this.#order++, run })
    for (let i = heap.length - 1; i > 0; ) {
      const parent = (i - 1) >> 1
      if (!this.#isBefore(i, parent)) break
      this.#swap(i, parent)
      i = parent
    }
  }

  /** Lets the next thing happen. */
  step(): void {
    const heap = this.#heap
    const first = heap[0]
    if (first === undefined) return
    const last = heap.pop()
    if (heap.length > 0 && last !== undefined) {
      heap[0] = last
      for (let i = 0; ; ) {
        let least = i
        for (const child of [2 * i + 1, 2 * i + 2])
          if (child < heap.length && this.#isBefore(child, least)) least = child
        if (least === i) break
        this.#swap(i, least)
        i = least
      }
    }
    this.nowMs = first.atMs
    first.run()
  }

  #isBefore(a: number, b: number): boolean {
    const [x, y] = [this.#heap[a], this.#heap[b]]
    return x !== undefined && y !== undefined && (x.atMs < y.atMs || (x.atMs === y.atMs && x.order < y.order))
  }

  #swap(a: number, b: number): void {
    const heap = this.#heap
    const kept = heap[a]
    heap[a] = heap[b] as (typeof heap)[number]
    heap[b] = kept as (typeof heap)[number]
  }
}

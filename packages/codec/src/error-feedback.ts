/**
 * What rounding lost, kept to be added before the next round: s = Δ + e, sent as Q(s), e ← s - D(Q(s)). Over many rounds nothing is
 * lost but the last e. One per rank and buffer; it stays with its owner when the members change.
 *
 * Use: `add` before an op, the op with `residual` at `next`, then `accept` when the op has ended well. After one that failed nothing
 * is to be done: the former e is still there.
 * @see Seide et al. 2014; Karimireddy et al. 2019
 */
export class ErrorFeedback {
  #kept: Float32Array
  #next: Float32Array

  /** Both float32[n], owned by this object from here; `next` is where the op writes what it loses. */
  constructor(kept: Float32Array, next: Float32Array) {
    this.#kept = kept
    this.#next = next
  }

  /** What was lost in the last accepted round, [n]. */
  get kept(): Float32Array {
    return this.#kept
  }

  /** Where the op under way puts what it loses, [n]. What it does not round has to be 0 there: `add` sees to it. */
  get next(): Float32Array {
    return this.#next
  }

  /** values += e. */
  add(values: Float32Array): void {
    for (let i = 0; i < values.length; i++) values[i] = (values[i] as number) + (this.#kept[i] as number)
    this.#next.fill(0)
  }

  accept(): void {
    ;[this.#kept, this.#next] = [this.#next, this.#kept]
  }
}

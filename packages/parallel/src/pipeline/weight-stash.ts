/**
 * The versions of a rank's parameters that are alive at once where a stage is updated after each microbatch: microbatches go back through the
 * version that they went forward through, and the newest is for those that begin. A ring of buffers, each overwritten when nobody can need
 * it any more.
 * @see Narayanan et al. 2019, PipeDream, section 3.3
 */
export class WeightStash {
  readonly #buffers: readonly Float32Array[]
  #newest = 0

  /** `weightVersions` says how many versions are alive; one more is written meanwhile. The first buffer holds the first version. */
  constructor(buffers: readonly Float32Array[]) {
    if (buffers.length < 2) throw new Error(`a stash of ${buffers.length} buffers has no room for a next version`)
    this.#buffers = buffers
  }

  get newest(): Float32Array {
    return this.#buffers[this.#newest] as Float32Array
  }

  /** Makes the next version from the newest one. */
  advance(update: (from: Float32Array, to: Float32Array) => void): void {
    const next = (this.#newest + 1) % this.#buffers.length
    update(this.newest, this.#buffers[next] as Float32Array)
    this.#newest = next
  }
}

import type { Clock, Ms } from '@skein/core'

/** Time during which at least one of several overlapping things was going on. */
export class BusyTime {
  readonly #clock: Clock
  #running = 0
  #sinceMs: Ms = 0
  #totalMs: Ms = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get isBusy(): boolean {
    return this.#running > 0
  }

  enter(): void {
    if (this.#running++ === 0) this.#sinceMs = this.#clock.now()
  }

  leave(): void {
    if (--this.#running === 0) this.#totalMs += this.#clock.now() - this.#sinceMs
  }

  /** The time since the last call, and starts again from zero. */
  take(): Ms {
    const nowMs = this.#clock.now()
    const total = this.#totalMs + (this.#running > 0 ? nowMs - this.#sinceMs : 0)
    this.#totalMs = 0
    this.#sinceMs = nowMs
    return total
  }
}

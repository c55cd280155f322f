import { type Clock, type Ms, systemClock } from '@skein/core'

/**
 * Keeps this thread's event loop turning for a moment after an op has begun, instead of letting it sleep in the system: what arrives
 * then is handled without the wake-up of a core, which costs as much as a small op itself. A core is busy meanwhile, so it is
 * for hosts with a core for each of their ranks; `forMs` 0 turns it off.
 */
export class EagerLoop {
  readonly #forMs: Ms
  readonly #clock: Clock
  #active = 0
  #untilMs: Ms = 0
  #isTurning = false

  constructor(forMs: Ms, clock: Clock = systemClock) {
    this.#forMs = forMs
    this.#clock = clock
  }

  /** An op that has begun; it must not reject. */
  during(op: Promise<unknown>): void {
    if (this.#forMs === 0) return
    this.#active++
    this.#untilMs = this.#clock.now() + this.#forMs
    void op.then(() => {
      this.#active--
    })
    if (this.#isTurning) return
    this.#isTurning = true
    setImmediate(this.#turn)
  }

  readonly #turn = (): void => {
    if (this.#active > 0 && this.#clock.now() < this.#untilMs) setImmediate(this.#turn)
    else this.#isTurning = false
  }
}

/** For how long a comm thread turns eagerly among so many ranks on its host: not at all where cores are fewer. */
export function eagerMs(ranksOnHost: number, cores: number): Ms {
  return ranksOnHost <= cores ? 0.15 : 0
}

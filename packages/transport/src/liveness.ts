import type { Ms } from '@skein/core'

export interface HeartbeatOptions {
  /** Between two pings, in ms. */
  readonly intervalMs: Ms
  /** Silence after which the peer counts as lost, in ms; several intervals. */
  readonly deadAfterMs: Ms
}

/**
 * Whether the peer still speaks. Pure: it is told the time. A tick that comes late means that this process itself stood still
 * (a blocked thread, a stopped process); what the peer said meanwhile is not read yet, so it gets one more interval.
 */
export class Liveness {
  readonly #options: HeartbeatOptions
  #heardMs: Ms
  #tickedMs: Ms

  constructor(options: HeartbeatOptions, nowMs: Ms) {
    this.#options = options
    this.#heardMs = nowMs
    this.#tickedMs = nowMs
  }

  /** Anything came from the peer. */
  heard(nowMs: Ms): void {
    this.#heardMs = nowMs
  }

  /** To be called once an interval; how long the peer has been silent, if that is too long. */
  tick(nowMs: Ms): Ms | undefined {
    const { intervalMs, deadAfterMs } = this.#options
    const wasAsleep = nowMs - this.#tickedMs > 2 * intervalMs
    this.#tickedMs = nowMs
    if (wasAsleep) this.#heardMs = Math.max(this.#heardMs, nowMs - deadAfterMs + intervalMs)
    const silentMs = nowMs - this.#heardMs
    return silentMs > deadAfterMs ? silentMs : undefined
  }
}

/** What is held on a device at one instant. */
export interface LedgerReading {
  /** Tensors handed out and not yet released. */
  readonly liveTensors: number
  readonly liveBytes: number
  /** Most bytes ever live at once. */
  readonly peakBytes: number
  /** Tensors the backend itself counts; includes constants and compiled passes, so it is flat rather than equal to liveTensors. */
  readonly backendTensors: number
}

/** Counts the tensors made through a device. Flat over steps, or something leaks. */
export class MemoryLedger {
  readonly #backendTensors: () => number
  #liveTensors = 0
  #liveBytes = 0
  #peakBytes = 0

  constructor(backendTensors: () => number) {
    this.#backendTensors = backendTensors
  }

  made(bytes: number): void {
    this.#liveTensors++
    this.#liveBytes += bytes
    if (this.#liveBytes > this.#peakBytes) this.#peakBytes = this.#liveBytes
  }

  released(bytes: number): void {
    this.#liveTensors--
    this.#liveBytes -= bytes
  }

  read(): LedgerReading {
    return {
      liveTensors: this.#liveTensors,
      liveBytes: this.#liveBytes,
      peakBytes: this.#peakBytes,
      backendTensors: this.#backendTensors(),
    }
  }
}

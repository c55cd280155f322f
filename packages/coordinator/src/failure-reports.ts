import type { Ms } from '@skein/core'

/** Who saw something go wrong, and what. */
export interface FailureReport {
  /** Undefined where the coordinator itself saw it. */
  readonly workerId: string | null
  /** Of whom it speaks, where it does. */
  readonly about: string | null
  readonly code: string | null
  readonly what: string
  readonly atMs: Ms
}

/** More tell nothing new: one failure is soon seen by everyone. */
const maxReports = 16

/** The first reports of failures in the newest generation that had any, in the order in which they came. */
export class FailureReports {
  #generation = -1
  #reports: FailureReport[] = []

  add(generation: number, report: FailureReport): void {
    if (generation !== this.#generation) {
      this.#generation = generation
      this.#reports = []
    }
    if (this.#reports.length < maxReports) this.#reports.push(report)
  }

  /** Generation 0 is before any worker had a place. */
  get newest(): { readonly generation: number; readonly reports: readonly FailureReport[] } | undefined {
    return this.#reports.length === 0 ? undefined : { generation: this.#generation, reports: this.#reports }
  }
}

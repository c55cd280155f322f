import fs from 'node:fs'
import path from 'node:path'
import type { Logger } from '@skein/telemetry'
import type { TimedOpRecord, WorkerMessage } from '@skein/wire'

/** In the folder of a run whose model is cut in parts: what every rank did in one step, for `skein trace`. */
export const timelinesFile = 'timelines.json'

/** The newest step of which all ranks have told. */
export interface RunTimelines {
  readonly job: unknown
  readonly generation: number
  readonly step: number
  /** By rank. */
  readonly ranks: readonly { readonly workerId: string; readonly ops: readonly TimedOpRecord[] }[]
}

type TimelineMessage = Extract<WorkerMessage, { type: 'timeline' }>

/** Puts together what the ranks say about the same step, and keeps the newest that is whole in the folder of the run. */
export class TimelineRecords {
  readonly #runDir: string
  readonly #job: unknown
  readonly #logger: Logger
  /** Whether the newest could not be written. */
  #hasFailed = false
  #step: { readonly generation: number; readonly step: number } = { generation: 0, step: 0 }
  readonly #byRank = new Map<number, RunTimelines['ranks'][number]>()

  constructor(runDir: string, job: unknown, logger: Logger) {
    this.#runDir = runDir
    this.#job = job
    this.#logger = logger
  }

  take(
    member: { readonly workerId: string; readonly rank: number; readonly worldSize: number },
    message: TimelineMessage,
  ): void {
    const { workerId, rank, worldSize } = member
    const { generation, step, ops } = message
    if (generation < this.#step.generation || (generation === this.#step.generation && step < this.#step.step)) return
    if (generation !== this.#step.generation || step !== this.#step.step) {
      this.#step = { generation, step }
      this.#byRank.clear()
    }
    this.#byRank.set(rank, { workerId, ops })
    if (this.#byRank.size < worldSize) return
    const ranks = [...this.#byRank].sort(([a], [b]) => a - b).map(([, one]) => one)
    this.#keep({ job: this.#job, generation, step, ranks })
  }

  /** A full disk stops no run: what is missing then is a picture. */
  #keep(whole: RunTimelines): void {
    // Whole or not at all, also for who reads it meanwhile.
    const file = path.join(this.#runDir, timelinesFile)
    try {
      fs.writeFileSync(`${file}.new`, `${JSON.stringify(whole)}\n`)
      fs.renameSync(`${file}.new`, file)
      this.#hasFailed = false
    } catch (error) {
      if (!this.#hasFailed) this.#logger.warn({ err: error, step: whole.step }, 'timelines.not-kept')
      this.#hasFailed = true
    }
  }
}

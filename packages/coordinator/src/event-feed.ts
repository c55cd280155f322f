import { randomUUID } from 'node:crypto'
import { type Deferred, deferred } from '@skein/core'
import type { RunEvent } from '@skein/membership'
import type { RunLog } from './run-log.ts'

/**
 * The run's events for any number of readers, each at its own pace. Nothing is queued for a reader: it reads from the log by
 * number and waits for news when it has all, so a slow one costs no memory.
 */
export class EventFeed {
  /** Of this coordinator's life, by which its events are counted: the same number is another event in another one. */
  readonly life = randomUUID()
  readonly #log: RunLog
  /** Events that the log could not take any more. */
  readonly #unlogged: string[] = []
  #news: Deferred<void> = deferred()
  #isOver = false

  constructor(log: RunLog) {
    this.#log = log
  }

  get length(): number {
    return this.#log.numEvents + this.#unlogged.length
  }

  /** After this no event comes. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** JSON lines from number `from` on, at most `limit`. */
  read(from: number, limit: number): string[] | Promise<string[]> {
    const { numEvents } = this.#log
    if (from < numEvents) return this.#log.readEvents(from, limit)
    return this.#unlogged.slice(from - numEvents, from - numEvents + limit)
  }

  /** Settles at the next `announce` or `end`. */
  news(): Promise<void> {
    return this.#news.promise
  }

  /** The log has new events. */
  announce(): void {
    const news = this.#news
    this.#news = deferred()
    news.resolve()
  }

  /** For the last words of a run whose log cannot be written. */
  addUnlogged(events: readonly RunEvent[]): void {
    this.#unlogged.push(...events.map(event => JSON.stringify(event)))
  }

  /** Idempotent. */
  end(): void {
    this.#isOver = true
    this.announce()
  }
}

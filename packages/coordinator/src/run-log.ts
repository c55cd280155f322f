import type { LogRecord, RunEvent } from '@skein/membership'
import type { RunHistory } from './run-history.ts'

/**
 * The durable truth of a run, and the one place that says which steps exist. Has one writer at a time: how a second one is kept
 * out is the store's matter. A log that is quick enough answers at once, one behind a network with promises.
 */
export interface RunLog {
  /** Durable events of this coordinator's life so far. */
  readonly numEvents: number
  read(): RunHistory | Promise<RunHistory>
  /** Enters this coordinator as the run's leader. */
  beginLife(facts: LifeFacts): void | Promise<void>
  /**
   * Writes records and events, all or none; they are durable when it returns or settles. To be called again only then.
   * @throws SKEIN_COORDINATOR_STORE_FAILED; SKEIN_COORDINATOR_LEADERSHIP_LOST where another coordinator may lead by now
   */
  append(records: readonly LogRecord[], events: readonly RunEvent[]): void | Promise<void>
  /** JSON lines of this life's events from number `from` on: at most `limit`, none only where there is none. One that is not kept any more has a line that says so. */
  readEvents(from: number, limit: number): string[] | Promise<string[]>
  /** Idempotent. */
  close(): void | Promise<void>
}

export interface LifeFacts {
  readonly runId: string
  readonly job: unknown
  /** The checkpoint that is gone on from. */
  readonly resume: string | undefined
  readonly startStep: number
}

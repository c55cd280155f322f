import { randomUUID } from 'node:crypto'
import { asSkeinError, sleep } from '@skein/core'
import type { LogRecord, RunEvent } from '@skein/membership'
import type { Logger } from '@skein/telemetry'
import type { RunHistory } from '../run-history.ts'
import type { LifeFacts, RunLog } from '../run-log.ts'
import { type Deletion, EtcdClient, type EtcdValue, mayPass, type Put } from './etcd-client.ts'
import { type Leadership, leadershipLost } from './leadership.ts'
import { historyOf, type LogEntry, untrainedLossIn } from './log-entry.ts'
import { goneEvent, PassingEvents } from './passing-events.ts'

/** Keys of one answer: entries are small, a generation's grows with its members. */
const keysPerRead = 500
const retryMs = 50
/** Of events that tell of steps: some 30,000 steps of four workers, 2,500 of 64. */
const keptEventBytes = 32 * 1024 * 1024

/**
 * A log in etcd, under `<prefix>log/<number>`, with the events of each coordinator's life under `<prefix>events/<life>/<number of the first>`.
 *
 * Every write is one transaction, made only if this process's key of leadership is still there and nobody has written the entry of this number: a
 * coordinator that was deposed, or whose answer was lost, can write nothing twice and nothing late.
 */
export class EtcdLog implements RunLog {
  readonly #client: EtcdClient
  readonly #prefix: string
  readonly #leadership: Leadership
  readonly #logger: Logger
  readonly #wallClock: () => string
  readonly #passing: PassingEvents
  /** Number of the next entry; known after `read`. */
  #next = 0
  #life = 0
  #numEvents = 0

  constructor(
    parts: {
      readonly client: EtcdClient
      readonly prefix: string
      readonly leadership: Leadership
      readonly logger: Logger
      readonly keptEventBytes?: number
    },
    wallClock: () => string = () => new Date().toISOString(),
  ) {
    this.#client = parts.client
    this.#prefix = parts.prefix
    this.#leadership = parts.leadership
    this.#logger = parts.logger
    this.#wallClock = wallClock
    this.#passing = new PassingEvents(parts.keptEventBytes ?? keptEventBytes)
  }

  get numEvents(): number {
    return this.#numEvents
  }

  async read(): Promise<RunHistory> {
    const entries = await readEntries(this.#client, this.#prefix)
    this.#next = entries.length
    this.#life = entries.at(-1)?.life ?? 0
    return historyOf(entries)
  }

  async beginLife(begins: LifeFacts): Promise<void> {
    this.#life++
    this.#numEvents = 0
    const earlier = { key: `${this.#prefix}events/`, end: this.#eventsOf(this.#life) }
    await this.#write({ begins, records: [] }, [], [earlier])
  }

  append(records: readonly LogRecord[], events: readonly RunEvent[]): void | Promise<void> {
    // Also what needs no write must not be decided by one who leads no more.
    this.#leadership.assertValid()
    if (records.length === 0 && events.length === 0) return undefined
    const untrainedLoss = untrainedLossIn(events)
    return this.#write({ records, ...(untrainedLoss === undefined ? {} : { untrainedLoss }) }, events)
  }

  readEvents(from: number, limit: number): Promise<string[]> {
    return this.#insist(() => this.#readEvents(from, limit))
  }

  async #readEvents(from: number, limit: number): Promise<string[]> {
    if (from >= this.#numEvents || limit <= 0) return []
    const events = this.#eventsOf(this.#life)
    const end = `${this.#prefix}events/${digits(this.#life)}0`
    const numberOf = (key: string) => Number(key.slice(events.length))
    const gone = (number: number) => Array<string>(number).fill(goneEvent)
    const [block] = await this.#client.range(events, {
      end: `${events}${digits(from)}\0`,
      limit: 1,
      isDescending: true,
    })
    const isThere = block !== undefined && numberOf(block.key) + linesOf(block).length > from
    if (!isThere) {
      const [next] = await this.#client.range(`${events}${digits(from)}`, { end, limit: 1 })
      return next === undefined ? [] : gone(Math.min(limit, numberOf(next.key) - from))
    }
    const lines: string[] = []
    for (const value of await this.#client.range(block.key, { end, limit })) {
      const number = numberOf(value.key)
      const missing = number - from - lines.length
      if (missing > 0) lines.push(...gone(Math.min(missing, limit - lines.length)))
      lines.push(...linesOf(value).slice(Math.max(0, from + lines.length - number)))
      if (lines.length >= limit) break
    }
    return lines.slice(0, limit)
  }

  close(): void {
    // The client has no connection of its own.
  }

  async #write(
    entry: Omit<LogEntry, 'life' | 'id' | 'at'>,
    events: readonly RunEvent[],
    deletions: readonly Deletion[] = [],
  ): Promise<void> {
    const key = `${this.#prefix}log/${digits(this.#next)}`
    const value = JSON.stringify({ life: this.#life, id: randomUUID(), at: this.#wallClock(), ...entry })
    const puts: Put[] = [{ key, value }]
    const told = events.length === 0 ? undefined : this.#blockOf(events)
    if (told !== undefined) puts.push(told)
    const tooMany = this.#passing.tooMany()
    const away = [...deletions, ...tooMany.map(passed => ({ key: passed }))]
    await this.#insist(() => this.#put(key, value, puts, away))
    this.#passing.taken(tooMany.length)
    if (told !== undefined) this.#passing.written(told.key, told.value.length, events)
    this.#next++
    this.#numEvents += events.length
  }

  #blockOf(events: readonly RunEvent[]): Put {
    return {
      key: `${this.#eventsOf(this.#life)}${digits(this.#numEvents)}`,
      value: JSON.stringify(events.map(event => JSON.stringify(event))),
    }
  }

  #eventsOf(life: number): string {
    return `${this.#prefix}events/${digits(life)}/`
  }

  /** To be called again after an attempt without an answer: whether that one was made is seen by what stands there. */
  async #put(key: string, value: string, puts: readonly Put[], away: readonly Deletion[]): Promise<void> {
    const { proof } = this.#leadership
    this.#leadership.assertValid()
    const revision = await this.#client.putIf([proof, { key, createRevision: '0' }], puts, away)
    if (revision !== undefined) return
    const [standing] = await this.#client.range(key)
    if (standing?.value !== value) throw leadershipLost(proof.key)
  }

  /** Tries as long as this process leads; what etcd refuses, it refuses for good. */
  async #insist<T>(attempt: () => Promise<T>): Promise<T> {
    let isTold = false
    for (;;) {
      try {
        return await attempt()
      } catch (thrown) {
        if (!mayPass(thrown)) throw thrown
        this.#leadership.assertValid()
        if (!isTold) this.#logger.warn({ err: asSkeinError(thrown) }, 'store.tried-again')
        isTold = true
        await sleep(retryMs)
      }
    }
  }
}

async function readEntries(client: EtcdClient, prefix: string): Promise<LogEntry[]> {
  const entries: LogEntry[] = []
  const end = `${prefix}log0`
  let from = `${prefix}log/`
  for (;;) {
    const values = await client.range(from, { end, limit: keysPerRead })
    entries.push(...values.map(({ value }) => JSON.parse(value) as LogEntry))
    const last = values.at(-1)
    if (last === undefined || values.length < keysPerRead) return entries
    from = `${last.key}\0`
  }
}

/** What the log of a run in etcd says; for whoever only reads. @throws SKEIN_COORDINATOR_STORE_FAILED */
export async function readEtcdHistory(endpoints: readonly string[], runId: string): Promise<RunHistory> {
  return historyOf(await readEntries(new EtcdClient(endpoints), prefixOf(runId)))
}

/** Of all keys of a run. */
export const prefixOf = (runId: string): string => `/skein/${runId}/`

const linesOf = ({ value }: EtcdValue): string[] => JSON.parse(value) as string[]

/** Keys in the order of numbers. */
const digits = (number: number): string => String(number).padStart(12, '0')

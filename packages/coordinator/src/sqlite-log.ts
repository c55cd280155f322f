import { SkeinError } from '@skein/core'
import type { LogRecord, RunEvent } from '@skein/membership'
import { CoordinatorErrors } from './errors.ts'
import { loadSqlite } from './quiet-sqlite.ts'
import type {
  LoggedCheckpoint,
  LoggedCommit,
  LoggedDivision,
  LoggedEnding,
  LoggedGeneration,
  RunHistory,
} from './run-history.ts'
import type { LifeFacts, RunLog } from './run-log.ts'

const schema = `
  CREATE TABLE IF NOT EXISTS run (runId TEXT NOT NULL, createdAt TEXT NOT NULL, job TEXT NOT NULL);
  -- One row for each coordinator that led this run, one after the other.
  CREATE TABLE IF NOT EXISTS lives (
    life INTEGER PRIMARY KEY, startedAt TEXT NOT NULL, resume TEXT, startStep INTEGER NOT NULL,
    endedAt TEXT, status TEXT, reason TEXT);
  CREATE TABLE IF NOT EXISTS generations (
    generation INTEGER PRIMARY KEY, life INTEGER NOT NULL, startStep INTEGER NOT NULL, startDigest TEXT, at TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS members (
    generation INTEGER NOT NULL, rank INTEGER NOT NULL, workerId TEXT NOT NULL, incarnation TEXT NOT NULL,
    laneHost TEXT NOT NULL, lanePort INTEGER NOT NULL, device TEXT NOT NULL, PRIMARY KEY (generation, rank)) WITHOUT ROWID;
  -- Samples of each rank, from a step of the generation on.
  CREATE TABLE IF NOT EXISTS shares (
    generation INTEGER NOT NULL, fromStep INTEGER NOT NULL, rank INTEGER NOT NULL, samples INTEGER NOT NULL,
    PRIMARY KEY (generation, fromStep, rank)) WITHOUT ROWID;
  -- A step that was made again after a resume has a row in each generation; the one of the highest generation holds.
  CREATE TABLE IF NOT EXISTS commits (
    step INTEGER NOT NULL, generation INTEGER NOT NULL, samplesFrom INTEGER NOT NULL, samplesTo INTEGER NOT NULL,
    digest TEXT NOT NULL, loss REAL, at TEXT NOT NULL, PRIMARY KEY (step, generation)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS checkpoints (
    step INTEGER NOT NULL, generation INTEGER NOT NULL, path TEXT NOT NULL, at TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS events (
    life INTEGER NOT NULL, number INTEGER NOT NULL, json TEXT NOT NULL, PRIMARY KEY (life, number)) WITHOUT ROWID;
`

/** What logs of older versions lack: parts of a model, and JSON lists of their digests, where there is more than one. */
const laterColumns = [
  ['generations', 'parts', 'INTEGER NOT NULL DEFAULT 1'],
  ['generations', 'startDigests', 'TEXT'],
  ['commits', 'digests', 'TEXT'],
] as const

type Database = InstanceType<ReturnType<typeof loadSqlite>['DatabaseSync']>
type Row = Readonly<Record<string, unknown>>
type ShareRow = { readonly generation: number; readonly fromStep: number; readonly samples: number }

/**
 * A log on this machine: an SQLite file in WAL mode with synchronous=FULL, so that what `append` was given is on disk when
 * it returns. One writer, protected by the run's lock; readable with any SQLite tool at any time.
 */
export class SqliteLog implements RunLog {
  readonly #database: Database
  readonly #wallClock: () => string
  #life = 0
  #numEvents = 0
  #isOpen = true

  /** @throws SKEIN_COORDINATOR_STORE_FAILED */
  constructor(file: string, wallClock: () => string = () => new Date().toISOString()) {
    this.#wallClock = wallClock
    this.#database = guarded(file, () => {
      const { DatabaseSync } = loadSqlite()
      const database = new DatabaseSync(file)
      try {
        database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 500;')
        database.exec(schema)
        addLaterColumns(database)
        return database
      } catch (error) {
        database.close()
        throw error
      }
    })
  }

  get numEvents(): number {
    return this.#numEvents
  }

  read(): RunHistory {
    return guarded('reading the commit log', () => this.#history())
  }

  #history(): RunHistory {
    const run = this.#rows('SELECT runId FROM run')[0]
    const untrained = this.#rows(
      `SELECT json ->> 'loss' AS loss FROM events WHERE json ->> 'event' = 'eval' AND json ->> 'phase' = 'untrained' LIMIT 1`,
    )[0]
    const ending = this.#rows('SELECT status, reason FROM lives ORDER BY life DESC LIMIT 1')[0]
    return {
      runId: run === undefined ? undefined : String(run['runId']),
      generations: this.#generations(),
      divisions: this.#divisions(),
      commits: this.#rows(
        'SELECT step, generation, samplesFrom, samplesTo, digest, digests, loss FROM commits ORDER BY step, generation',
      ).map(row => ({
        ...(row as unknown as Omit<LoggedCommit, 'digests'>),
        digests: digestsOf(row['digests'], row['digest']) ?? [],
      })),
      checkpoints: this.#rows(
        'SELECT step, generation, path FROM checkpoints ORDER BY rowid',
      ) as unknown as LoggedCheckpoint[],
      untrainedLoss: typeof untrained?.['loss'] === 'number' ? untrained['loss'] : undefined,
      ending: typeof ending?.['status'] === 'string' ? (ending as unknown as LoggedEnding) : undefined,
    }
  }

  #generations(): LoggedGeneration[] {
    const members = Map.groupBy(
      this.#rows('SELECT generation, workerId, incarnation FROM members ORDER BY rank'),
      row => row['generation'],
    )
    return this.#rows(
      'SELECT generation, startStep, parts, startDigest, startDigests FROM generations ORDER BY generation',
    ).map(row => ({
      ...(row as unknown as Omit<LoggedGeneration, 'members' | 'startDigests'>),
      startDigests: digestsOf(row['startDigests'], row['startDigest']),
      members: (members.get(row['generation']) ?? []).map(({ workerId, incarnation }) => ({
        workerId: String(workerId),
        incarnation: String(incarnation),
      })),
    }))
  }

  #divisions(): LoggedDivision[] {
    const divisions: { generation: number; fromStep: number; shares: number[] }[] = []
    const rows = this.#rows('SELECT generation, fromStep, samples FROM shares ORDER BY generation, fromStep, rank')
    for (const { generation, fromStep, samples } of rows as unknown as ShareRow[]) {
      const last = divisions.at(-1)
      if (last?.generation === generation && last.fromStep === fromStep) last.shares.push(samples)
      else divisions.push({ generation, fromStep, shares: [samples] })
    }
    return divisions
  }

  #rows(sql: string): Row[] {
    return this.#database
      .prepare(sql)
      .all()
      .map(row => ({ ...row }))
  }

  beginLife(facts: LifeFacts): void {
    this.#transaction(() => {
      const at = this.#wallClock()
      const isNew = this.#database.prepare('SELECT 1 FROM run').get() === undefined
      if (isNew) {
        this.#database
          .prepare('INSERT INTO run (runId, createdAt, job) VALUES (?, ?, ?)')
          .run(facts.runId, at, JSON.stringify(facts.job) ?? 'null')
      }
      const result = this.#database
        .prepare('INSERT INTO lives (startedAt, resume, startStep) VALUES (?, ?, ?)')
        .run(at, facts.resume ?? null, facts.startStep)
      this.#life = Number(result.lastInsertRowid)
    })
  }

  append(records: readonly LogRecord[], events: readonly RunEvent[]): void {
    if (records.length === 0 && events.length === 0) return
    this.#transaction(() => {
      for (const record of records) this.#insert(record)
      const insert = this.#database.prepare('INSERT INTO events (life, number, json) VALUES (?, ?, ?)')
      events.forEach((event, i) => insert.run(this.#life, this.#numEvents + i, JSON.stringify(event)))
    })
    this.#numEvents += events.length
  }

  readEvents(from: number, limit: number): string[] {
    const sql = 'SELECT json FROM events WHERE life = ? AND number >= ? ORDER BY number LIMIT ?'
    const rows = guarded('reading the events', () => this.#database.prepare(sql).all(this.#life, from, limit))
    return (rows as unknown as { json: string }[]).map(row => row.json)
  }

  close(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#database.close()
  }

  #insert(record: LogRecord): void {
    const at = this.#wallClock()
    switch (record.type) {
      case 'generation': {
        this.#database
          .prepare('INSERT INTO generations (generation, life, startStep, parts, at) VALUES (?, ?, ?, ?, ?)')
          .run(record.generation, this.#life, record.startStep, record.parts ?? 1, at)
        const insert = this.#database.prepare('INSERT INTO members VALUES (?, ?, ?, ?, ?, ?, ?)')
        for (const { rank, workerId, incarnation, lane, device } of record.members) {
          insert.run(record.generation, rank, workerId, incarnation, lane.host, lane.port, JSON.stringify(device))
        }
        this.#insertShares(
          record.generation,
          record.startStep + 1,
          record.members.map(({ share }) => share),
        )
        break
      }
      case 'shares':
        this.#insertShares(record.generation, record.fromStep, record.shares)
        break
      case 'started':
        this.#database
          .prepare('UPDATE generations SET startDigest = ?, startDigests = ? WHERE generation = ?')
          .run(record.digest, jsonOf(record.digests), record.generation)
        break
      case 'commit': {
        const { step, generation, samplesFrom, samplesTo, digest, digests, loss } = record
        this.#database
          .prepare(
            'INSERT INTO commits (step, generation, samplesFrom, samplesTo, digest, digests, loss, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
          )
          .run(step, generation, samplesFrom, samplesTo, digest, jsonOf(digests), loss, at)
        break
      }
      case 'checkpoint':
        this.#database
          .prepare('INSERT INTO checkpoints VALUES (?, ?, ?, ?)')
          .run(record.step, record.generation, record.path, at)
        break
      case 'ended':
        this.#database
          .prepare('UPDATE lives SET endedAt = ?, status = ?, reason = ? WHERE life = ?')
          .run(at, record.status, record.reason, this.#life)
        break
    }
  }

  #insertShares(generation: number, fromStep: number, shares: readonly number[]): void {
    const insert = this.#database.prepare('INSERT INTO shares VALUES (?, ?, ?, ?)')
    shares.forEach((samples, rank) => insert.run(generation, fromStep, rank, samples))
  }

  #transaction(body: () => void): void {
    guarded('the commit log', () => {
      this.#database.exec('BEGIN IMMEDIATE')
      try {
        body()
        this.#database.exec('COMMIT')
      } catch (error) {
        if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
        throw error
      }
    })
  }
}

function addLaterColumns(database: Database): void {
  for (const [table, column, kind] of laterColumns) {
    const known = database.prepare(`SELECT 1 FROM pragma_table_info('${table}') WHERE name = ?`).get(column)
    if (known === undefined) database.exec(`ALTER TABLE ${table} ADD COLUMN ${column} ${kind}`)
  }
}

const jsonOf = (digests: readonly string[] | undefined): string | null =>
  digests === undefined ? null : JSON.stringify(digests)

/** Of each part: the one there is, where the model is not cut. */
function digestsOf(list: unknown, only: unknown): readonly string[] | null {
  if (typeof list === 'string') return JSON.parse(list) as string[]
  return typeof only === 'string' ? [only] : null
}

function guarded<T>(what: string, body: () => T): T {
  try {
    return body()
  } catch (cause) {
    throw new SkeinError(CoordinatorErrors.STORE_FAILED, {
      what: `${what} failed: ${cause instanceof Error ? cause.message : String(cause)}`,
      why: 'the disk is full or broken, the file is damaged, or the folder is read-only',
      todo: 'make room or mend the disk, then resume the run: what was committed before is kept',
      cause,
    })
  }
}

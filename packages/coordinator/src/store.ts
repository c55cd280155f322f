import { SkeinError } from '@skein/core'
import type { LogRecord, RunEvent } from '@skein/membership'
import { CoordinatorErrors } from './errors.ts'
import { loadSqlite } from './quiet-sqlite.ts'

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

/** What the log says about the past of a run. */
export interface LoggedPast {
  readonly runId: string | undefined
  readonly lastGeneration: number
  /** The last committed step of the last generation that committed one; 0 for none. */
  readonly lastStep: number
  readonly lastCheckpoint: { readonly step: number; readonly path: string } | undefined
  readonly untrainedLoss: number | undefined
}

/** Where a run stands by its log: what a coordinator that is started again goes on from. */
export interface LoggedStand {
  readonly generation: number
  /** The last committed step of the history that holds. */
  readonly step: number
  readonly digest: string | undefined
  readonly samplesTo: number | undefined
  /** Those at or before that step, the newest first; some may have been removed since. */
  readonly checkpoints: readonly { readonly step: number; readonly path: string }[]
  /** Members of the last generation. */
  readonly members: readonly { readonly workerId: string; readonly incarnation: string; readonly share: number }[]
}

/** Who took how many samples of the steps of a generation, from one on, by rank. */
export interface LoggedShares {
  readonly generation: number
  readonly fromStep: number
  readonly shares: readonly number[]
}

export interface LoggedCommit {
  readonly step: number
  readonly generation: number
  readonly samplesFrom: number
  readonly samplesTo: number
  readonly digest: string
  readonly loss: number | null
}

type Row = Readonly<Record<string, unknown>>

/**
 * The durable truth of a run: an SQLite file in WAL mode with synchronous=FULL, so that what `append` was given is on disk when
 * it returns. One writer, protected by the run's lock; readable with any SQLite tool at any time.
 */
export class Store {
  readonly #database: InstanceType<ReturnType<typeof loadSqlite>['DatabaseSync']>
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
        return database
      } catch (error) {
        database.close()
        throw error
      }
    })
  }

  /** The events of this coordinator's life so far. */
  get numEvents(): number {
    return this.#numEvents
  }

  past(): LoggedPast {
    const run = this.#database.prepare('SELECT runId FROM run').get() as Row | undefined
    const generation = this.#database.prepare('SELECT max(generation) AS last FROM generations').get() as Row
    const commit = this.#database
      .prepare('SELECT max(step) AS step FROM commits WHERE generation = (SELECT max(generation) FROM commits)')
      .get() as Row
    const checkpoint = this.#database.prepare('SELECT step, path FROM checkpoints ORDER BY rowid DESC LIMIT 1').get() as
      | { step: number; path: string }
      | undefined
    const untrained = this.#database
      .prepare(
        `SELECT json ->> 'loss' AS loss FROM events WHERE json ->> 'event' = 'eval' AND json ->> 'phase' = 'untrained' LIMIT 1`,
      )
      .get() as Row | undefined
    return {
      runId: run === undefined ? undefined : String(run['runId']),
      lastGeneration: Number(generation['last'] ?? 0),
      lastStep: Number(commit['step'] ?? 0),
      lastCheckpoint: checkpoint === undefined ? undefined : { step: checkpoint.step, path: checkpoint.path },
      untrainedLoss: typeof untrained?.['loss'] === 'number' ? untrained['loss'] : undefined,
    }
  }

  /** All generations in order: where each began, and with which parameters (null: it never started). */
  generations(): { readonly generation: number; readonly startStep: number; readonly startDigest: string | null }[] {
    return this.#database
      .prepare('SELECT generation, startStep, startDigest FROM generations ORDER BY generation')
      .all() as unknown as { generation: number; startStep: number; startDigest: string | null }[]
  }

  /** Undefined where no generation was ever formed. */
  stand(): LoggedStand | undefined {
    const generation = this.#database
      .prepare('SELECT generation, startStep, startDigest FROM generations ORDER BY generation DESC LIMIT 1')
      .get() as { generation: number; startStep: number; startDigest: string | null } | undefined
    if (generation === undefined) return undefined
    // A generation begins at the last commit that holds, or goes back to a checkpoint: later rows of older ones do not hold.
    const made = this.#database
      .prepare('SELECT * FROM commits WHERE generation = ? ORDER BY step DESC LIMIT 1')
      .get(generation.generation) as unknown as LoggedCommit | undefined
    const step = made?.step ?? generation.startStep
    const commit = made ?? this.commitOf(step)
    const checkpoints = this.#database
      .prepare('SELECT step, path FROM checkpoints WHERE step <= ? ORDER BY step DESC, rowid DESC')
      .all(step) as unknown as { step: number; path: string }[]
    const shares = this.shares().findLast(row => row.generation === generation.generation)?.shares
    const members = this.#database
      .prepare('SELECT workerId, incarnation FROM members WHERE generation = ? ORDER BY rank')
      .all(generation.generation) as unknown as { workerId: string; incarnation: string }[]
    return {
      generation: generation.generation,
      step,
      digest: commit?.digest ?? generation.startDigest ?? undefined,
      samplesTo: commit?.samplesTo,
      checkpoints: checkpoints.map(({ step: savedStep, path }) => ({ step: savedStep, path })),
      members: members.map((member, rank) => ({ ...member, share: shares?.[rank] ?? 0 })),
    }
  }

  /** The commit of `step` that holds, if the log has one. */
  commitOf(step: number): LoggedCommit | undefined {
    return this.#database
      .prepare('SELECT * FROM commits WHERE step = ? ORDER BY generation DESC LIMIT 1')
      .get(step) as unknown as LoggedCommit | undefined
  }

  /** All rows of the commit log in the order of steps, superseded ones too. */
  commits(): LoggedCommit[] {
    return this.#database
      .prepare('SELECT step, generation, samplesFrom, samplesTo, digest, loss FROM commits ORDER BY step, generation')
      .all() as unknown as LoggedCommit[]
  }

  /** All divisions of the batch, in the order of generations and steps. */
  shares(): LoggedShares[] {
    const rows = this.#database
      .prepare('SELECT generation, fromStep, samples FROM shares ORDER BY generation, fromStep, rank')
      .all() as unknown as { generation: number; fromStep: number; samples: number }[]
    const divisions: { generation: number; fromStep: number; shares: number[] }[] = []
    for (const { generation, fromStep, samples } of rows) {
      const last = divisions.at(-1)
      if (last?.generation === generation && last.fromStep === fromStep) last.shares.push(samples)
      else divisions.push({ generation, fromStep, shares: [samples] })
    }
    return divisions
  }

  /** Enters this coordinator as the run's leader. */
  beginLife(facts: { runId: string; job: unknown; resume: string | undefined; startStep: number }): void {
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

  /** Writes records and events in one transaction; they are on disk when this returns. @throws SKEIN_COORDINATOR_STORE_FAILED */
  append(records: readonly LogRecord[], events: readonly RunEvent[]): void {
    if (records.length === 0 && events.length === 0) return
    this.#transaction(() => {
      for (const record of records) this.#insert(record)
      const insert = this.#database.prepare('INSERT INTO events (life, number, json) VALUES (?, ?, ?)')
      events.forEach((event, i) => insert.run(this.#life, this.#numEvents + i, JSON.stringify(event)))
    })
    this.#numEvents += events.length
  }

  /** JSON lines of this life's events from number `from` on, at most `limit`. */
  readEvents(from: number, limit: number): string[] {
    const rows = this.#database
      .prepare('SELECT json FROM events WHERE life = ? AND number >= ? ORDER BY number LIMIT ?')
      .all(this.#life, from, limit) as unknown as { json: string }[]
    return rows.map(row => row.json)
  }

  /** Idempotent. */
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
          .prepare('INSERT INTO generations (generation, life, startStep, at) VALUES (?, ?, ?, ?)')
          .run(record.generation, this.#life, record.startStep, at)
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
          .prepare('UPDATE generations SET startDigest = ? WHERE generation = ?')
          .run(record.digest, record.generation)
        break
      case 'commit': {
        const { step, generation, samplesFrom, samplesTo, digest, loss } = record
        this.#database
          .prepare('INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?, ?)')
          .run(step, generation, samplesFrom, samplesTo, digest, loss, at)
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

import fs from 'node:fs'
import path from 'node:path'
import { SkeinError } from '@skein/core'
import { CoordinatorErrors } from './errors.ts'
import { loadSqlite } from './quiet-sqlite.ts'

/** What stands in `coordinator.json` while a coordinator runs: for other tools, and to name it to a second coordinator. */
export interface CoordinatorFacts {
  readonly pid: number
  readonly url: string
  readonly runId: string
  /** PEM text of the authority to believe where the URL is https; no secret. */
  readonly ca?: string
}

export interface RunLock {
  /** Writes coordinator.json; it holds no secret. */
  publish(facts: CoordinatorFacts): void
  /** Idempotent. */
  release(): void
}

/**
 * Takes the folder of a run for this process alone. The lock is an open exclusive transaction on `coordinator.lock`, so the
 * operating system lets go of it when the process dies, however it dies; the log itself stays readable for other tools.
 * @throws SKEIN_COORDINATOR_ALREADY_RUNNING, SKEIN_COORDINATOR_STORE_FAILED
 */
export function lockRun(runDir: string): RunLock {
  const factsFile = path.join(runDir, 'coordinator.json')
  const { DatabaseSync } = loadSqlite()
  let database: InstanceType<typeof DatabaseSync> | undefined
  try {
    database = new DatabaseSync(path.join(runDir, 'coordinator.lock'))
    database.exec('BEGIN EXCLUSIVE')
  } catch (cause) {
    database?.close()
    throw lockError(runDir, factsFile, cause)
  }
  const held = database
  let isOpen = true
  return {
    publish: facts => publishFacts(runDir, facts),
    release() {
      if (!isOpen) return
      isOpen = false
      fs.rmSync(factsFile, { force: true })
      held.close()
    },
  }
}

/** For other tools on this machine. */
export function publishFacts(runDir: string, facts: CoordinatorFacts): void {
  fs.writeFileSync(path.join(runDir, 'coordinator.json'), `${JSON.stringify(facts)}\n`, { mode: 0o600 })
}

/** Takes back what `publishFacts` wrote, where no other coordinator has written there since. */
export function withdrawFacts(runDir: string, { pid, url }: CoordinatorFacts): void {
  const file = path.join(runDir, 'coordinator.json')
  const published = readFacts(file)
  if (published?.pid === pid && published.url === url) fs.rmSync(file, { force: true })
}

function lockError(runDir: string, factsFile: string, cause: unknown): SkeinError {
  const isBusy = cause instanceof Error && /locked|busy/i.test(cause.message)
  if (!isBusy) {
    return new SkeinError(CoordinatorErrors.STORE_FAILED, {
      what: `${path.join(runDir, 'coordinator.lock')} cannot be opened: ${cause instanceof Error ? cause.message : String(cause)}`,
      why: 'the folder is read-only, full, or on a file system without locks',
      todo: 'choose another run folder, on a local disk',
      details: { runDir },
      cause,
    })
  }
  const other = readFacts(factsFile)
  const who = other === undefined ? 'another coordinator' : `the coordinator of process ${other.pid} at ${other.url}`
  return new SkeinError(CoordinatorErrors.ALREADY_RUNNING, {
    what: `${who} uses the run folder ${runDir}`,
    why: 'two coordinators on one run would commit two truths',
    todo: 'stop the other one first, or choose another run folder',
    details: { runDir, ...other },
    cause,
  })
}

function readFacts(file: string): CoordinatorFacts | undefined {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8')) as CoordinatorFacts
  } catch {
    // It is only a courtesy: the lock is what counts.
    return undefined
  }
}

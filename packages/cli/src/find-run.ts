import fs from 'node:fs'
import path from 'node:path'
import { SkeinError } from '@skein/core'
import { CliErrors } from './errors.ts'

/** Where a coordinator is reached, and with what. */
export interface RunAddress {
  readonly url: string
  readonly token?: string
}

/** Written by a running coordinator, removed when it ends. */
const factsFile = 'coordinator.json'
/** Written by the launcher for this user's other processes, readable by nobody else. */
const tokenFile = 'token'

/** Keeps the run's token for `skein status` and `skein watch` of the same user; the returned function removes it. */
export function keepToken(runDir: string, token: string): () => void {
  const file = path.join(runDir, tokenFile)
  fs.mkdirSync(runDir, { recursive: true })
  fs.writeFileSync(file, token, { mode: 0o600 })
  return () => fs.rmSync(file, { force: true })
}

/**
 * The run that a user means: an http URL, a run's folder, or without either the newest run that goes on in `runs`.
 * @throws SKEIN_CLI_NO_RUN
 */
export function findRun(given: string | undefined, token: string | undefined, runs = path.resolve('runs')): RunAddress {
  const withToken = (url: string, found: string | undefined): RunAddress => {
    const secret = token ?? found
    return secret === undefined ? { url } : { url, token: secret }
  }
  if (given !== undefined && URL.canParse(given) && /^https?:/u.test(given)) return withToken(given, undefined)
  const folder = given === undefined ? newestRunning(runs) : path.resolve(given)
  const url = folder === undefined ? undefined : urlIn(folder)
  if (folder === undefined || url === undefined) throw noRun(given, runs)
  return withToken(url, readText(path.join(folder, tokenFile)))
}

function newestRunning(runs: string): string | undefined {
  const names = fs.existsSync(runs) ? fs.readdirSync(runs) : []
  return names
    .map(name => path.join(runs, name))
    .filter(folder => urlIn(folder) !== undefined)
    .toSorted((a, b) => startedAtMs(b) - startedAtMs(a))[0]
}

const startedAtMs = (folder: string) => fs.statSync(path.join(folder, factsFile)).mtimeMs

/** The coordinator's address, if one runs for this folder. */
function urlIn(folder: string): string | undefined {
  try {
    const facts: unknown = JSON.parse(readText(path.join(folder, factsFile)) ?? '')
    const url = (facts as { readonly url?: unknown } | null)?.url
    return typeof url === 'string' ? url : undefined
  } catch {
    return undefined
  }
}

function readText(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

function noRun(given: string | undefined, runs: string): SkeinError {
  return new SkeinError(CliErrors.NO_RUN, {
    what:
      given === undefined
        ? `no run goes on in ${runs}`
        : `${given} is neither an http URL nor the folder of a run that goes on`,
    why: 'the run is over, was started in another folder, or on another machine',
    todo: 'pass the address that `skein coordinator` printed, such as http://127.0.0.1:7070, or the folder of the run',
  })
}

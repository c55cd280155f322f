import fs from 'node:fs'
import path from 'node:path'
import { SkeinError } from '@skein/core'
import type { TlsTrust } from '@skein/transport'
import { CliErrors } from './errors.ts'

/** Where the coordinators of a run are reached, and with what. */
export interface RunAddress {
  readonly urls: readonly string[]
  readonly token?: string
  /** For an https URL; default: the authorities of the system. */
  readonly tls?: TlsTrust
}

/** Written by a running coordinator, removed when it ends. */
const factsFile = 'coordinator.json'
/** Written by the launcher for this user's other processes, readable by nobody else. */
const tokenFile = 'token'

/** Keeps the run's token for `skein status` and `skein watch` of the same user; the returned function removes it, unless it is another one by then. */
export function keepToken(runDir: string, token: string): () => void {
  const file = path.join(runDir, tokenFile)
  fs.mkdirSync(runDir, { recursive: true })
  fs.writeFileSync(file, token, { mode: 0o600 })
  return () => {
    const kept = fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : undefined
    if (kept === token) fs.rmSync(file, { force: true })
  }
}

/**
 * The run that a user means: an http(s) URL or several with commas between them, a run's folder, or without either the newest run that goes on in `runs`.
 * @throws SKEIN_CLI_NO_RUN
 */
export function findRun(
  given: string | undefined,
  shown: { readonly token?: string | undefined; readonly tls?: TlsTrust | undefined },
  runs = path.resolve('runs'),
): RunAddress {
  const address = (urls: readonly string[], token: string | undefined, tls: TlsTrust | undefined): RunAddress => ({
    urls,
    ...(token === undefined ? {} : { token }),
    ...(tls === undefined ? {} : { tls }),
  })
  const urls = given?.split(',').map(part => part.trim()) ?? []
  if (urls.length > 0 && urls.every(isHttpUrl)) return address(urls, shown.token, shown.tls)
  const folder = given === undefined ? newestRunning(runs) : path.resolve(given)
  const facts = folder === undefined ? undefined : factsIn(folder)
  if (folder === undefined || facts === undefined) throw noRun(given, runs)
  const trust = facts.ca === undefined ? undefined : { ca: facts.ca }
  return address([facts.url], shown.token ?? readText(path.join(folder, tokenFile)), shown.tls ?? trust)
}

const isHttpUrl = (text: string) => URL.canParse(text) && /^https?:/u.test(text)

function newestRunning(runs: string): string | undefined {
  const names = fs.existsSync(runs) ? fs.readdirSync(runs) : []
  return names
    .map(name => path.join(runs, name))
    .filter(folder => factsIn(folder) !== undefined)
    .toSorted((a, b) => startedAtMs(b) - startedAtMs(a))[0]
}

const startedAtMs = (folder: string) => fs.statSync(path.join(folder, factsFile)).mtimeMs

/** The coordinator's address and authority, if one runs for this folder. */
function factsIn(folder: string): { readonly url: string; readonly ca?: string } | undefined {
  try {
    const facts: unknown = JSON.parse(readText(path.join(folder, factsFile)) ?? '')
    const { url, ca } = (facts ?? {}) as { readonly url?: unknown; readonly ca?: unknown }
    if (typeof url !== 'string') return undefined
    return typeof ca === 'string' ? { url, ca } : { url }
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

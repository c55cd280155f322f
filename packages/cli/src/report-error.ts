import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { SkippedCheckpoint } from '@skein/checkpoint'
import { asSkeinError, CoreErrors, type SkeinError } from '@skein/core'

/** The `error` line of the --json contract. */
export function errorLine(error: SkeinError): string {
  const { code, what, why, todo, details } = error.toJSON()
  return JSON.stringify({
    event: 'error',
    code,
    message: why === undefined ? what : `${what} (${why})`,
    todo,
    what,
    ...(why === undefined ? {} : { why }),
    details,
  })
}

/** The error as a block for people: code, what, why, what to do, and the last words of a process where there are some. */
export function errorBlock(error: SkeinError, logFile?: string): string {
  const rows = [
    `error ${error.code}`,
    `  what  ${indented(error.what)}`,
    error.why === undefined ? [] : [`  why   ${indented(error.why)}`],
    `  do    ${indented(error.todo)}`,
    logFile === undefined ? [] : [`  log   ${logFile}`],
  ].flat()
  const lastWords = error.details['lastWords']
  if (typeof lastWords === 'string' && lastWords !== '') {
    rows.push('  last words', ...lastWords.split('\n').map(line => `    ${line}`))
  }
  return rows.join('\n')
}

function indented(text: string): string {
  return text.split('\n').join('\n        ')
}

/** Where the stack of an unexpected error goes: the run's folder if it has one yet, else one file per user. */
export function errorLogFile(runDir: string | undefined): string {
  if (runDir !== undefined && fs.existsSync(runDir)) return path.join(runDir, 'logs', 'cli.log')
  return path.join(os.tmpdir(), `skein-errors-${process.getuid?.() ?? 'user'}.log`)
}

/**
 * Tells the user about a failure, once: a JSON line on stdout with `json`, else the block on stderr. An unexpected error's
 * stack goes to the log file and never to the screen.
 */
export function reportError(thrown: unknown, options: { readonly json: boolean; readonly runDir?: string }): void {
  const error = asSkeinError(thrown)
  const unexpected = error.code === CoreErrors.INTERNAL.code
  const logFile = unexpected ? appendStack(error, options.runDir) : undefined
  if (options.json) process.stdout.write(`${errorLine(error)}\n`)
  else process.stderr.write(`${errorBlock(error, logFile)}\n`)
}

function appendStack(error: SkeinError, runDir: string | undefined): string | undefined {
  const file = errorLogFile(runDir)
  const cause = error.cause instanceof Error ? error.cause : error
  const entry = { time: new Date().toISOString(), code: error.code, argv: process.argv.slice(2), stack: cause.stack }
  try {
    fs.mkdirSync(path.dirname(file), { recursive: true })
    fs.appendFileSync(file, `${JSON.stringify(entry)}\n`, { mode: 0o600 })
    return file
  } catch {
    return undefined
  }
}

/** Says which checkpoints `--resume` passed over, before the run begins. */
export function tellSkipped(skipped: readonly SkippedCheckpoint[], json: boolean): void {
  for (const { path, code, reason } of skipped) {
    if (json) process.stdout.write(`${JSON.stringify({ event: 'checkpoint-skipped', path, code, reason })}\n`)
    else process.stderr.write(`warning: the checkpoint ${path} is passed over: ${reason}\n`)
  }
}

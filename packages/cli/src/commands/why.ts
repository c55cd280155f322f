import fs from 'node:fs'
import path from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { type RunWhy, whyFile } from '@skein/coordinator'
import { SkeinError } from '@skein/core'
import type { TlsTrust } from '@skein/transport'
import { CliErrors } from '../errors.ts'
import { findRun } from '../find-run.ts'
import { askCoordinator } from '../follow-events.ts'
import { whyLines } from '../view/why-lines.ts'

/** `skein why [RUN]`: what holds a run up, on one screen; of a run that has failed what it left in its folder. */
export async function why(options: {
  /** http URL of a coordinator, folder of a run, or neither. */
  readonly run: string | undefined
  readonly token: string | undefined
  readonly tls: TlsTrust | undefined
  readonly json: boolean
}): Promise<number> {
  const { run, json } = options
  const answer = (await askOrRead(options)) as RunWhy | undefined
  if (typeof answer?.summary !== 'string' || !Array.isArray(answer.causes) || !Array.isArray(answer.workers)) {
    throw new SkeinError(CliErrors.COORDINATOR_REFUSED, {
      what: `${run ?? 'the newest run'} gave no answer to "why"`,
      why: 'another version of Skein, or not a coordinator',
      todo: 'use the version that runs the coordinator',
    })
  }
  if (json) {
    process.stdout.write(`${JSON.stringify(answer)}\n`)
    return 0
  }
  const colours = process.stdout.hasColors?.() ?? false
  for (const line of whyLines(answer)) process.stdout.write(`${colours ? line : stripVTControlCharacters(line)}\n`)
  return 0
}

async function askOrRead({ run, token, tls }: Parameters<typeof why>[0]): Promise<unknown> {
  const left = run === undefined ? undefined : leftBehind(run)
  try {
    return await askCoordinator({ ...findRun(run, { token, tls }), method: 'GET', path: '/why', timeoutMs: 10_000 })
  } catch (error) {
    if (left === undefined) throw error
    return left
  }
}

/** What a run that failed has left in its folder. */
function leftBehind(folder: string): unknown {
  try {
    return JSON.parse(fs.readFileSync(path.join(folder, whyFile), 'utf8'))
  } catch {
    return undefined
  }
}

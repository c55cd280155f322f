import { isDeepStrictEqual } from 'node:util'
import { SkeinError } from '@skein/core'
import type { CoordinatorMessage } from '@skein/wire'
import { WorkerErrors } from './errors.ts'

export type Welcome = Extract<CoordinatorMessage, { type: 'welcome' }>

/**
 * What may differ between the coordinators of one run: where things lie on their machines (data is known by its fingerprint), how many take part,
 * and where a value came from. Everything else decides what a step computes, or what becomes of it.
 */
const notOfTheRun: ReadonlySet<string> = new Set([
  'name',
  'jobFile',
  'moduleFile',
  'sources',
  'data.paths',
  'mesh.dp',
  'elastic.min',
  'elastic.max',
  'checkpoint.to',
])

/** Differences that an error names. */
const maxNamed = 3

/**
 * Why a worker that was in the run of `first` has no place where `now` was said: the coordinator that it came back to leads another run, or this run
 * with another job. Undefined: it is the same one.
 */
export function otherRunError(first: Welcome, now: Welcome): SkeinError | undefined {
  if (now.runId !== first.runId) {
    return new SkeinError(WorkerErrors.OTHER_RUN, {
      what: `the coordinator leads run ${now.runId}, and this worker is in run ${first.runId}`,
      why: 'another run was started where the coordinator of this one was, before this worker had given it up',
      todo: `start the worker again to take part in ${now.runId}; to go on with ${first.runId}, start its coordinator with --continue where the worker looks for it`,
      details: { runId: first.runId, otherRunId: now.runId },
    })
  }
  const differences = differencesOf(first.job, now.job)
  if (differences.length === 0) return undefined
  const named = differences.slice(0, maxNamed).map(({ at, was, is }) => `${at} is ${is}, was ${was}`)
  const more = differences.length > maxNamed ? `, and ${differences.length - maxNamed} more` : ''
  return new SkeinError(WorkerErrors.OTHER_JOB, {
    what: `the coordinator of run ${now.runId} has another job than the one this worker trains: ${named.join('; ')}${more}`,
    why: 'the coordinator was started again with a job that was changed, or with other options',
    todo: 'start the worker again to train the new job; to keep what it holds, start the coordinator with the job as it was',
    details: { runId: now.runId, differences: differences.map(({ at }) => at) },
  })
}

interface Difference {
  readonly at: string
  readonly was: string
  readonly is: string
}

function differencesOf(was: unknown, is: unknown, at = ''): Difference[] {
  if (notOfTheRun.has(at) || isDeepStrictEqual(was, is)) return []
  if (!isSection(was) || !isSection(is)) return [{ at: at === '' ? 'the job' : at, was: textOf(was), is: textOf(is) }]
  const keys = new Set([...Object.keys(was), ...Object.keys(is)])
  return [...keys].flatMap(key => differencesOf(was[key], is[key], at === '' ? key : `${at}.${key}`))
}

const isSection = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const textOf = (value: unknown): string => (value === undefined ? 'absent' : JSON.stringify(value).slice(0, 80))

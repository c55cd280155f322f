import { SkeinError } from '@skein/core'
import { JobErrors } from './errors.ts'

/** SKEIN_JOB_UNREADABLE for a file, with what is wrong with it and what to do. */
export function unreadable(jobFile: string, what: string, todo: string, cause?: unknown): SkeinError {
  return new SkeinError(JobErrors.UNREADABLE, {
    what: `the job file ${jobFile} ${what}`,
    todo,
    details: { jobFile },
    ...(cause === undefined ? {} : { cause }),
  })
}

/** The first line: import errors carry a code frame below it. */
export function messageOf(cause: unknown): string {
  const message = cause instanceof Error ? cause.message : String(cause)
  return (message.split('\n', 1)[0] ?? '').trim()
}

import { SkeinError } from '@skein/core'
import { CliErrors } from './errors.ts'
import { type RunEvent, recordField, textField } from './run-event.ts'

/** The error that an `error` line tells of: of a run's stream, or of a child process. */
export function errorOfEvent(event: RunEvent): SkeinError {
  const why = textField(event, 'why')
  return SkeinError.fromJSON({
    code: textField(event, 'code') ?? CliErrors.CHILD_EXITED.code,
    retry: 'never',
    what: textField(event, 'what') ?? textField(event, 'message') ?? 'a process failed without a message',
    todo: textField(event, 'todo') ?? 'read the logs of the run',
    details: recordField(event, 'details') ?? {},
    ...(why === undefined ? {} : { why }),
  })
}

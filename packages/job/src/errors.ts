import type { ErrorCode } from '@skein/core'

export const JobErrors = {
  NOT_FOUND: {
    code: 'SKEIN_JOB_NOT_FOUND',
    retry: 'never',
    meaning: 'The job file does not exist.',
  },
  UNREADABLE: {
    code: 'SKEIN_JOB_UNREADABLE',
    retry: 'never',
    meaning: 'The job file cannot be imported or parsed, or exports no job.',
  },
  UNKNOWN_KEY: {
    code: 'SKEIN_JOB_UNKNOWN_KEY',
    retry: 'never',
    meaning: 'The job has a key that does not exist; the nearest known one is named.',
  },
  INVALID: {
    code: 'SKEIN_JOB_INVALID',
    retry: 'never',
    meaning: 'A value of the job is missing, of the wrong kind or out of its range.',
  },
  CONFLICT: {
    code: 'SKEIN_JOB_CONFLICT',
    retry: 'never',
    meaning: 'Two values of the job do not go together; both are named.',
  },
} as const satisfies Record<string, ErrorCode>

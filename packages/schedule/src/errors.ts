import type { ErrorCode } from '@skein/core'

export const ScheduleErrors = {
  INVALID: {
    code: 'SKEIN_SCHEDULE_INVALID',
    retry: 'never',
    meaning:
      'A schedule does not do what it promises: an op missing, doubled or misplaced, a circle of waits, too much memory.',
  },
  OPTIONS: {
    code: 'SKEIN_SCHEDULE_OPTIONS',
    retry: 'never',
    meaning: 'A schedule was asked for that its rule does not make: its sizes, or a name that is not known.',
  },
} as const satisfies Record<string, ErrorCode>

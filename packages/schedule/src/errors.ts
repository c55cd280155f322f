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
    meaning:
      'A schedule, a change or a drawing of one was asked for that is not made: its sizes, a name that is not known, times too far apart.',
  },
} as const satisfies Record<string, ErrorCode>

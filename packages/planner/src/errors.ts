import type { ErrorCode } from '@skein/core'

export const PlannerErrors = {
  TOO_MANY_STAGES: {
    code: 'SKEIN_PLANNER_TOO_MANY_STAGES',
    retry: 'never',
    meaning: 'A model was to be cut into more stages than it has units.',
  },
  NOTHING_FITS: {
    code: 'SKEIN_PLANNER_NOTHING_FITS',
    retry: 'never',
    meaning:
      'No schedule needs as little memory as there is; the message says with which it would be least, and how much that is.',
  },
  NO_SCHEDULE: {
    code: 'SKEIN_PLANNER_NO_SCHEDULE',
    retry: 'never',
    meaning: 'None of the schedules asked for can be made for these numbers of ranks and microbatches.',
  },
} as const satisfies Record<string, ErrorCode>

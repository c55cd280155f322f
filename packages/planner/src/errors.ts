import type { ErrorCode } from '@skein/core'

export const PlannerErrors = {
  TOO_MANY_STAGES: {
    code: 'SKEIN_PLANNER_TOO_MANY_STAGES',
    retry: 'never',
    meaning: 'A model was to be cut into more stages than it has units.',
  },
} as const satisfies Record<string, ErrorCode>

import type { ErrorCode } from '@skein/core'

export const PlanErrors = {
  INVALID: {
    code: 'SKEIN_PLAN_INVALID',
    retry: 'never',
    meaning: 'A plan does not do what it promises: a message without its partner, a circle of waits, or a wrong sum.',
  },
  OPTIONS: {
    code: 'SKEIN_PLAN_OPTIONS',
    retry: 'never',
    meaning: 'A plan was asked for with impossible sizes: ranks, elements, root or segment.',
  },
  TEXT: {
    code: 'SKEIN_PLAN_TEXT',
    retry: 'never',
    meaning: 'A plan in text form cannot be read: it is cut, changed, too large, or of another version.',
  },
} as const satisfies Record<string, ErrorCode>

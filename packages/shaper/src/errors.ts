import type { ErrorCode } from '@skein/core'

export const ShaperErrors = {
  BAD_SHAPE: {
    code: 'SKEIN_SHAPER_BAD_SHAPE',
    retry: 'never',
    meaning: 'A rate, delay, bound or offset that no link can have.',
  },
} as const satisfies Record<string, ErrorCode>

import type { ErrorCode } from '@skein/core'

export const SimdErrors = {
  ARENA_FULL: {
    code: 'SKEIN_SIMD_ARENA_FULL',
    retry: 'never',
    meaning: 'The shared memory was made smaller than what is now allocated from it.',
  },
  MEMORY: {
    code: 'SKEIN_SIMD_MEMORY',
    retry: 'never',
    meaning: 'The shared memory could not be made: over 4 GiB, or more than the system gives.',
  },
  RANGE: {
    code: 'SKEIN_SIMD_RANGE',
    retry: 'never',
    meaning: 'A kernel was called with a range outside the shared memory.',
  },
} as const satisfies Record<string, ErrorCode>

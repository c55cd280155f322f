import type { ErrorCode } from '@skein/core'

export const ParallelErrors = {
  SCHEDULE_SIZE: {
    code: 'SKEIN_PARALLEL_SCHEDULE_SIZE',
    retry: 'never',
    meaning: 'A step of the schedule has more messages than can be told apart.',
  },
  NOT_EXECUTED: {
    code: 'SKEIN_PARALLEL_NOT_EXECUTED',
    retry: 'never',
    meaning: 'The schedule has an op that the executor does not know.',
  },
  MESSAGE_MEMORY: {
    code: 'SKEIN_PARALLEL_MESSAGE_MEMORY',
    retry: 'never',
    meaning: 'The shared memory for the messages between stages is smaller than the schedule needs.',
  },
} as const satisfies Record<string, ErrorCode>

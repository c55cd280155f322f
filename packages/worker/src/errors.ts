import type { ErrorCode } from '@skein/core'

export const WorkerErrors = {
  TOKEN_NEEDED: {
    code: 'SKEIN_WORKER_TOKEN_NEEDED',
    retry: 'never',
    meaning: 'The worker was to listen beyond this machine, or to dial beyond it, without a token.',
  },
  COORDINATOR_UNREACHABLE: {
    code: 'SKEIN_WORKER_COORDINATOR_UNREACHABLE',
    retry: 'same-op',
    meaning: 'The coordinator did not answer at the given address within the time allowed.',
  },
  COMM_THREAD_DIED: {
    code: 'SKEIN_WORKER_COMM_THREAD_DIED',
    retry: 'never',
    meaning: 'The thread that owns the sockets ended unexpectedly.',
  },
} as const satisfies Record<string, ErrorCode>

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
  COORDINATOR_LOST: {
    code: 'SKEIN_WORKER_COORDINATOR_LOST',
    retry: 'next-generation',
    meaning: 'The control link with the coordinator ended; the worker keeps its state and looks for it.',
  },
  OTHER_RUN: {
    code: 'SKEIN_WORKER_OTHER_RUN',
    retry: 'never',
    meaning: 'The coordinator that the worker came back to leads another run than the one it is in.',
  },
  OTHER_JOB: {
    code: 'SKEIN_WORKER_OTHER_JOB',
    retry: 'never',
    meaning: 'The coordinator that the worker came back to leads its run with another job than the one it trains.',
  },
  GENERATION_OVER: {
    code: 'SKEIN_WORKER_GENERATION_OVER',
    retry: 'next-generation',
    meaning: 'The membership has changed; the next generation goes on from the last commit.',
  },
  STATE_NOT_HELD: {
    code: 'SKEIN_WORKER_STATE_NOT_HELD',
    retry: 'never',
    meaning: 'A worker does not hold the state it said it holds.',
  },
  COMM_THREAD_DIED: {
    code: 'SKEIN_WORKER_COMM_THREAD_DIED',
    retry: 'never',
    meaning: 'The thread that owns the sockets ended unexpectedly.',
  },
} as const satisfies Record<string, ErrorCode>

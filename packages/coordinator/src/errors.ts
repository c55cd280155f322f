import type { ErrorCode } from '@skein/core'

/** What can go wrong in the coordinator's process; for what ends a run see @skein/membership. */
export const CoordinatorErrors = {
  BAD_OPTIONS: {
    code: 'SKEIN_COORDINATOR_BAD_OPTIONS',
    retry: 'never',
    meaning: 'An option of the coordinator is missing, out of range or in conflict with another.',
  },
  TOKEN_NEEDED: {
    code: 'SKEIN_COORDINATOR_TOKEN_NEEDED',
    retry: 'never',
    meaning: 'The coordinator was to listen beyond this machine without a join token.',
  },
  PORT_IN_USE: {
    code: 'SKEIN_COORDINATOR_PORT_IN_USE',
    retry: 'never',
    meaning: 'Another process listens on the port.',
  },
  LISTEN_FAILED: {
    code: 'SKEIN_COORDINATOR_LISTEN_FAILED',
    retry: 'never',
    meaning: 'The address cannot be listened on.',
  },
  ALREADY_RUNNING: {
    code: 'SKEIN_COORDINATOR_ALREADY_RUNNING',
    retry: 'never',
    meaning: "Another coordinator holds the lock of this run's folder.",
  },
  RUN_EXISTS: {
    code: 'SKEIN_COORDINATOR_RUN_EXISTS',
    retry: 'never',
    meaning: 'The folder holds the log of a run with committed steps, and no resume was asked for.',
  },
  NO_RUN: {
    code: 'SKEIN_COORDINATOR_NO_RUN',
    retry: 'never',
    meaning: 'A run was to be gone on with, and the folder holds none.',
  },
  STORE_FAILED: {
    code: 'SKEIN_COORDINATOR_STORE_FAILED',
    retry: 'never',
    meaning: 'The commit log cannot be opened or written; the run ends at its last durable commit.',
  },
  LEADERSHIP_LOST: {
    code: 'SKEIN_COORDINATOR_LEADERSHIP_LOST',
    retry: 'never',
    meaning:
      'This coordinator must not write the log any more: another one may lead the run. The run itself goes on there.',
  },
  RESIGNED: {
    code: 'SKEIN_COORDINATOR_RESIGNED',
    retry: 'never',
    meaning: 'This coordinator was told to let another one lead the run, which goes on there.',
  },
  UNAUTHORIZED: {
    code: 'SKEIN_COORDINATOR_UNAUTHORIZED',
    retry: 'never',
    meaning: 'A request came without the token, or with a wrong one.',
  },
  BAD_REQUEST: {
    code: 'SKEIN_COORDINATOR_BAD_REQUEST',
    retry: 'never',
    meaning: 'A request to the HTTP port that the coordinator does not understand.',
  },
  TOO_MANY_STREAMS: {
    code: 'SKEIN_COORDINATOR_TOO_MANY_STREAMS',
    retry: 'same-op',
    meaning: 'More event streams were opened than allowed.',
  },
  JOIN_TIMEOUT: {
    code: 'SKEIN_COORDINATOR_JOIN_TIMEOUT',
    retry: 'never',
    meaning: 'A control link was opened, but nobody joined over it.',
  },
  CLOSED: {
    code: 'SKEIN_COORDINATOR_CLOSED',
    retry: 'never',
    meaning: 'The coordinator was closed before the run had ended.',
  },
} as const satisfies Record<string, ErrorCode>

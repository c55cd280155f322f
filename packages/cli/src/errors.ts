import type { ErrorCode } from '@skein/core'

/** What can go wrong in the command line itself; everything below it brings its own codes. */
export const CliErrors = {
  USAGE: {
    code: 'SKEIN_CLI_USAGE',
    retry: 'never',
    meaning: 'A command, option or argument that does not exist or has an impossible value.',
  },
  CHILD_EXITED: {
    code: 'SKEIN_CLI_CHILD_EXITED',
    retry: 'never',
    meaning: 'A process started by the launcher ended before the run did; its last words are in the message.',
  },
  NO_FILE_LIMIT: {
    code: 'SKEIN_CLI_NO_FILE_LIMIT',
    retry: 'never',
    meaning: 'The system does not let `skein chaos` bound the files of a worker, which stands for a full disk.',
  },
  START_TIMEOUT: {
    code: 'SKEIN_CLI_START_TIMEOUT',
    retry: 'same-op',
    meaning: 'The coordinator process did not say its address in time.',
  },
  COORDINATOR_UNREACHABLE: {
    code: 'SKEIN_CLI_COORDINATOR_UNREACHABLE',
    retry: 'same-op',
    meaning: 'Nobody answers HTTP at the address of the coordinator, or its stream of events broke for good.',
  },
  COORDINATOR_REFUSED: {
    code: 'SKEIN_CLI_COORDINATOR_REFUSED',
    retry: 'never',
    meaning: 'The address answers HTTP, but not as a coordinator does.',
  },
  RUN_INTERRUPTED: {
    code: 'SKEIN_CLI_RUN_INTERRUPTED',
    retry: 'never',
    meaning: 'The run was stopped before it could write its last checkpoint.',
  },
  RUN_OVER: {
    code: 'SKEIN_CLI_RUN_OVER',
    retry: 'never',
    meaning: 'The run has ended without what `skein chaos` waited for.',
  },
  NOTHING_TO_RESUME: {
    code: 'SKEIN_CLI_NOTHING_TO_RESUME',
    retry: 'never',
    meaning: '--resume found no checkpoint.',
  },
  TLS_FILE: {
    code: 'SKEIN_CLI_TLS_FILE',
    retry: 'never',
    meaning: 'A certificate, key or authority that was named cannot be read.',
  },
  NO_RUN: {
    code: 'SKEIN_CLI_NO_RUN',
    retry: 'same-op',
    meaning: 'status or watch found no run: neither an address nor a folder with a running coordinator.',
  },
  NO_MODEL: {
    code: 'SKEIN_CLI_NO_MODEL',
    retry: 'never',
    meaning: '--checkpoint names neither a checkpoint of Skein nor a Hugging Face model folder.',
  },
  MODEL_NOT_TEXT: {
    code: 'SKEIN_CLI_MODEL_NOT_TEXT',
    retry: 'never',
    meaning: 'The command needs a language model, and the checkpoint holds another kind.',
  },
  NO_TIMELINES: {
    code: 'SKEIN_CLI_NO_TIMELINES',
    retry: 'never',
    meaning: 'The folder has no timelines of a run whose model is cut in parts.',
  },
} as const satisfies Record<string, ErrorCode>

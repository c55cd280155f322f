import type { ErrorCode } from '@skein/core'

/** What membership can refuse or end a run with. */
export const MembershipErrors = {
  RUN_FULL: {
    code: 'SKEIN_MEMBERSHIP_RUN_FULL',
    retry: 'never',
    meaning: 'Far more workers asked to join a run than it can take.',
  },
  RUN_ENDED: {
    code: 'SKEIN_MEMBERSHIP_RUN_ENDED',
    retry: 'never',
    meaning: 'A worker spoke to a run that is over.',
  },
  PROTOCOL_VERSION: {
    code: 'SKEIN_MEMBERSHIP_PROTOCOL_VERSION',
    retry: 'never',
    meaning: 'A worker speaks another version of the control protocol.',
  },
  NOT_A_MEMBER: {
    code: 'SKEIN_MEMBERSHIP_NOT_A_MEMBER',
    retry: 'never',
    meaning:
      'A link that has not joined, or is no longer the link of a member, sent a message that only members may send.',
  },
  REPLACED: {
    code: 'SKEIN_MEMBERSHIP_REPLACED',
    retry: 'next-generation',
    meaning:
      'Another process with the same workerId has taken the place of this one. Whose join came last need not be the younger, so this one may try again; two that go on taking turns have one name by mistake.',
  },
  FENCED: {
    code: 'SKEIN_MEMBERSHIP_FENCED',
    retry: 'next-generation',
    meaning: 'This process was given up for dead or put out; it may come back as a new incarnation.',
  },
  DUPLICATE_JOIN: {
    code: 'SKEIN_MEMBERSHIP_DUPLICATE_JOIN',
    retry: 'never',
    meaning: "A link that is a worker's already was used to join as another.",
  },
  OUT_OF_TURN: {
    code: 'SKEIN_MEMBERSHIP_OUT_OF_TURN',
    retry: 'never',
    meaning: 'A message for another generation or step, or one that this phase of the run or this rank may not send.',
  },
  GATHER_TIMEOUT: {
    code: 'SKEIN_MEMBERSHIP_GATHER_TIMEOUT',
    retry: 'never',
    meaning: 'Not all workers joined in time.',
  },
  PREPARE_TIMEOUT: {
    code: 'SKEIN_MEMBERSHIP_PREPARE_TIMEOUT',
    retry: 'never',
    meaning: 'Not all workers had model, data and lanes ready in time.',
  },
  STALLED: {
    code: 'SKEIN_MEMBERSHIP_STALLED',
    retry: 'never',
    meaning: 'A step was not committed in time although all workers are connected.',
  },
  FINISH_TIMEOUT: {
    code: 'SKEIN_MEMBERSHIP_FINISH_TIMEOUT',
    retry: 'never',
    meaning: 'Not all workers reported the end of the run in time.',
  },
  NOT_SAVED: {
    code: 'SKEIN_MEMBERSHIP_NOT_SAVED',
    retry: 'never',
    meaning: 'All steps of a run are made, but its last state could not be taken to disk.',
  },
  DATA_MISMATCH: {
    code: 'SKEIN_MEMBERSHIP_DATA_MISMATCH',
    retry: 'never',
    meaning: 'Workers found different training data.',
  },
  MODEL_MISMATCH: {
    code: 'SKEIN_MEMBERSHIP_MODEL_MISMATCH',
    retry: 'never',
    meaning: 'Workers built models with different numbers of parameters.',
  },
  START_MISMATCH: {
    code: 'SKEIN_MEMBERSHIP_START_MISMATCH',
    retry: 'never',
    meaning: 'Workers start from different parameters, or from others than the log has committed.',
  },
  DIGEST_MISMATCH: {
    code: 'SKEIN_MEMBERSHIP_DIGEST_MISMATCH',
    retry: 'never',
    meaning: 'After a step the workers do not hold the same parameters.',
  },
  LOSS_MISMATCH: {
    code: 'SKEIN_MEMBERSHIP_LOSS_MISMATCH',
    retry: 'never',
    meaning: 'Votes for one step name different losses.',
  },
  SAMPLES_MISMATCH: {
    code: 'SKEIN_MEMBERSHIP_SAMPLES_MISMATCH',
    retry: 'never',
    meaning: 'Votes for one step name different samples, or not the ones that follow the last commit.',
  },
  UNREACHABLE: {
    code: 'SKEIN_MEMBERSHIP_UNREACHABLE',
    retry: 'next-generation',
    meaning: 'Two workers that both reach the coordinator cannot keep a connection; one of them was put out.',
  },
  CORRUPTING: {
    code: 'SKEIN_MEMBERSHIP_CORRUPTING',
    retry: 'next-generation',
    meaning: 'Frames that a worker sent or received were altered again and again; it was put out.',
  },
  WORKER_LOST: {
    code: 'SKEIN_MEMBERSHIP_WORKER_LOST',
    retry: 'next-generation',
    meaning: 'A worker died, left or failed: its generation is over, the others go on in the next one.',
  },
} as const satisfies Record<string, ErrorCode>

import type { ErrorCode } from '@skein/core'

export const TrainerErrors = {
  NONFINITE: {
    code: 'SKEIN_TRAINER_NONFINITE',
    retry: 'never',
    meaning: 'The reduced gradient or loss of a step is NaN or infinite; it is the same on every worker.',
  },
  CHECKPOINT_DIGEST: {
    code: 'SKEIN_TRAINER_CHECKPOINT_DIGEST',
    retry: 'never',
    meaning: 'The parameters read from a checkpoint are not those its commit record names.',
  },
  FEW_HELD_OUT: {
    code: 'SKEIN_TRAINER_FEW_HELD_OUT',
    retry: 'never',
    meaning: 'There are fewer held-out samples than one microbatch of a pipeline.',
  },
  NOT_VALIDATED: {
    code: 'SKEIN_TRAINER_NOT_VALIDATED',
    retry: 'never',
    meaning: 'A pipeline updates before the global state of the step is known, and nobody validates its updates.',
  },
} as const satisfies Record<string, ErrorCode>

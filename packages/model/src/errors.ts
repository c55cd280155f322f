import type { ErrorCode } from '@skein/core'

/** What can be wrong with a model, or with what it is given. */
export const ModelErrors = {
  PARAMETER: {
    code: 'SKEIN_MODEL_PARAMETER',
    retry: 'never',
    meaning: 'A layout was asked for a parameter that the model does not have.',
  },
  UNTRAINED_STATE: {
    code: 'SKEIN_MODEL_UNTRAINED_STATE',
    retry: 'never',
    meaning:
      'A tf.LayersModel has weights that change without gradients (batch normalisation), which workers cannot share yet.',
  },
  CONSTRAINT: {
    code: 'SKEIN_MODEL_CONSTRAINT',
    retry: 'never',
    meaning: 'A weight of a tf.LayersModel has a constraint, which nothing would apply after an update.',
  },
  NO_WEIGHTS: {
    code: 'SKEIN_MODEL_NO_WEIGHTS',
    retry: 'never',
    meaning: 'A tf.LayersModel has nothing to train.',
  },
  LOSS_SHAPE: {
    code: 'SKEIN_MODEL_LOSS_SHAPE',
    retry: 'never',
    meaning: "A job's loss returned neither one value a sample nor a scalar.",
  },
  INPUT_MISSING: {
    code: 'SKEIN_MODEL_INPUT_MISSING',
    retry: 'never',
    meaning: 'A batch lacks an array that the model takes as input.',
  },
  STAGE_ORDER: {
    code: 'SKEIN_MODEL_STAGE_ORDER',
    retry: 'never',
    meaning: 'A pass of a microbatch was asked for before the pass that it builds on: a defect of the schedule.',
  },
  RANDOM_LAYER: {
    code: 'SKEIN_MODEL_RANDOM_LAYER',
    retry: 'never',
    meaning:
      'A layer of a tf.LayersModel that is cut into stages gives another result each time it is run, like dropout.',
  },
  CUT: {
    code: 'SKEIN_MODEL_CUT',
    retry: 'never',
    meaning: 'A model cannot be cut into stages as it was asked for.',
  },
  SIZES: {
    code: 'SKEIN_MODEL_SIZES',
    retry: 'never',
    meaning: 'The sizes of a model do not fit together.',
  },
  BATCH: {
    code: 'SKEIN_MODEL_BATCH',
    retry: 'never',
    meaning: 'A batch lacks an array that the model needs, or has it in another shape or dtype.',
  },
} as const satisfies Record<string, ErrorCode>

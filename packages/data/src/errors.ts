import type { ErrorCode } from '@skein/core'

export const DataErrors = {
  PATH_MISSING: {
    code: 'SKEIN_DATA_PATH_MISSING',
    retry: 'never',
    meaning: 'A data folder or file of the job does not exist or cannot be read.',
  },
  NO_DOCUMENTS: {
    code: 'SKEIN_DATA_NO_DOCUMENTS',
    retry: 'never',
    meaning: 'The data folder or file holds no text document after include, exclude and the skipping of binary files.',
  },
  BAD_PATTERN: {
    code: 'SKEIN_DATA_BAD_PATTERN',
    retry: 'never',
    meaning: 'A pattern in include or exclude cannot be read.',
  },
  JSONL_LINE: {
    code: 'SKEIN_DATA_JSONL_LINE',
    retry: 'never',
    meaning: 'A line of a JSONL file is not a JSON object with a string in `text`.',
  },
  NO_SPLIT: {
    code: 'SKEIN_DATA_NO_SPLIT',
    retry: 'never',
    meaning: 'The text cannot be divided into at least one training and one held-out document.',
  },
  TOO_SMALL: {
    code: 'SKEIN_DATA_TOO_SMALL',
    retry: 'never',
    meaning: 'The training data is smaller than one global batch, or the held-out data than one sample.',
  },
  SAMPLE_RANGE: {
    code: 'SKEIN_DATA_SAMPLE_RANGE',
    retry: 'never',
    meaning: 'A sample number that the split does not have was asked for.',
  },
  CUSTOM_SAMPLE: {
    code: 'SKEIN_DATA_CUSTOM_SAMPLE',
    retry: 'never',
    meaning: "A job's own data function returned arrays that do not fit their shape or the other samples of the batch.",
  },
} as const satisfies Record<string, ErrorCode>

import type { ErrorCode } from '@skein/core'

export const CheckpointErrors = {
  NOT_FOUND: {
    code: 'SKEIN_CHECKPOINT_NOT_FOUND',
    retry: 'never',
    meaning: 'There is no checkpoint at the path given.',
  },
  NO_MANIFEST: {
    code: 'SKEIN_CHECKPOINT_NO_MANIFEST',
    retry: 'never',
    meaning: 'A checkpoint folder has no manifest.json, so it was never finished or is not one.',
  },
  FORMAT: {
    code: 'SKEIN_CHECKPOINT_FORMAT',
    retry: 'never',
    meaning: 'The manifest is of another format version, or not a manifest.',
  },
  CUT_SHORT: {
    code: 'SKEIN_CHECKPOINT_CUT_SHORT',
    retry: 'never',
    meaning: 'A file of a checkpoint is missing or has another length than the manifest says.',
  },
  CORRUPT: {
    code: 'SKEIN_CHECKPOINT_CORRUPT',
    retry: 'never',
    meaning: 'The SHA-256 of a checkpoint file differs from the manifest: bytes changed after it was written.',
  },
  PART_MISSING: {
    code: 'SKEIN_CHECKPOINT_PART_MISSING',
    retry: 'never',
    meaning: 'Workers that each write a part of a checkpoint do not write to the same place.',
  },
  OTHER_MODEL: {
    code: 'SKEIN_CHECKPOINT_OTHER_MODEL',
    retry: 'never',
    meaning: "The checkpoint's model configuration is not the job's.",
  },
  TENSORS: {
    code: 'SKEIN_CHECKPOINT_TENSORS',
    retry: 'never',
    meaning: 'A file lacks a tensor, or has it in another shape or dtype than wanted.',
  },
  ROWS: {
    code: 'SKEIN_CHECKPOINT_ROWS',
    retry: 'never',
    meaning: 'The files of a checkpoint do not have each row of a tensor once, or not those that its manifest names.',
  },
  SAFETENSORS: {
    code: 'SKEIN_CHECKPOINT_SAFETENSORS',
    retry: 'never',
    meaning: 'A file is not safetensors as the format demands.',
  },
  NONE_WHOLE: {
    code: 'SKEIN_CHECKPOINT_NONE_WHOLE',
    retry: 'never',
    meaning: 'There are checkpoints where one was looked for, and each is unfinished or damaged.',
  },
  S3: {
    code: 'SKEIN_CHECKPOINT_S3',
    retry: 'same-op',
    meaning: 'An S3 server refused a request or did not answer, or what is needed to ask it is missing.',
  },
  WRITER_DIED: {
    code: 'SKEIN_CHECKPOINT_WRITER_DIED',
    retry: 'same-op',
    meaning: 'The thread that writes checkpoints has ended.',
  },
  WRITE: {
    code: 'SKEIN_CHECKPOINT_WRITE',
    retry: 'same-op',
    meaning: 'A checkpoint could not be written: the disk is full, or the folder not writable.',
  },
  HUGGING_FACE: {
    code: 'SKEIN_CHECKPOINT_HUGGING_FACE',
    retry: 'never',
    meaning: 'A Hugging Face folder is not a GPT-2 that Skein can take, or the model is not one that can be exported.',
  },
} as const satisfies Record<string, ErrorCode>

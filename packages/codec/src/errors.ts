import type { ErrorCode } from '@skein/core'

export const CodecErrors = {
  UNKNOWN: {
    code: 'SKEIN_CODEC_UNKNOWN',
    retry: 'never',
    meaning: 'A codec was named, or met on the wire, that this version does not have.',
  },
  FEEDBACK: {
    code: 'SKEIN_CODEC_FEEDBACK',
    retry: 'never',
    meaning: 'Error feedback was used out of order, or for arrays of another length.',
  },
} as const satisfies Record<string, ErrorCode>

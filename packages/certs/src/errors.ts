import type { ErrorCode } from '@skein/core'

export const CertsErrors = {
  BAD_HOST: {
    code: 'SKEIN_CERTS_BAD_HOST',
    retry: 'never',
    meaning: 'A certificate was asked for a name that is neither a host name nor an IP address.',
  },
  BAD_AUTHORITY: {
    code: 'SKEIN_CERTS_BAD_AUTHORITY',
    retry: 'never',
    meaning: 'The authority that should sign cannot: its files are broken, do not belong together, or it has expired.',
  },
} as const satisfies Record<string, ErrorCode>

import type { ErrorCode } from '@skein/core'

export const TelemetryErrors = {
  LEVEL_UNKNOWN: {
    code: 'SKEIN_TELEMETRY_LEVEL_UNKNOWN',
    retry: 'never',
    meaning: 'A log level that does not exist was asked for.',
  },
} as const satisfies Record<string, ErrorCode>

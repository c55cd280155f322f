import type { ErrorCode } from '@skein/core'

export const CatchupErrors = {
  SOURCES_LOST: {
    code: 'SKEIN_CATCHUP_SOURCES_LOST',
    retry: 'next-generation',
    meaning: 'None of the peers that hold the state can be asked for it any more.',
  },
  TOO_SLOW: {
    code: 'SKEIN_CATCHUP_TOO_SLOW',
    retry: 'next-generation',
    meaning: 'The others make steps faster than their updates arrive here.',
  },
  STATE_DIFFERS: {
    code: 'SKEIN_CATCHUP_STATE_DIFFERS',
    retry: 'next-generation',
    meaning: 'The state that was put together has not the digest that the log has for its step.',
  },
  BAD_ANSWER: {
    code: 'SKEIN_CATCHUP_BAD_ANSWER',
    retry: 'same-op',
    meaning: 'A peer answered with something else than the part of the state it was asked for.',
  },
  REFUSED: {
    code: 'SKEIN_CATCHUP_REFUSED',
    retry: 'same-op',
    meaning: 'A peer does not give its state in this generation, or not now.',
  },
} as const satisfies Record<string, ErrorCode>

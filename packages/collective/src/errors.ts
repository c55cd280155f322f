import type { ErrorCode } from '@skein/core'

export const CollectiveErrors = {
  UNREACHABLE: {
    code: 'SKEIN_COLLECTIVE_UNREACHABLE',
    retry: 'next-generation',
    meaning: 'A lane with a peer could not be opened in time.',
  },
  PEER_LOST: {
    code: 'SKEIN_COLLECTIVE_PEER_LOST',
    retry: 'next-generation',
    meaning: 'The lane to or from another rank closed or failed: its process died, or the network between broke.',
  },
  MISMATCH: {
    code: 'SKEIN_COLLECTIVE_MISMATCH',
    retry: 'never',
    meaning: 'Two ranks do not run the same collective at the same place: other kind, algorithm, size, root or order.',
  },
  STALE_GENERATION: {
    code: 'SKEIN_COLLECTIVE_STALE_GENERATION',
    retry: 'next-generation',
    meaning: 'A frame of another generation arrived: its sender has not heard of the change of members.',
  },
  CORRUPT: {
    code: 'SKEIN_COLLECTIVE_CORRUPT',
    retry: 'next-generation',
    meaning: "A frame's payload does not have the checksum its header promises.",
  },
  BAD_FRAME: {
    code: 'SKEIN_COLLECTIVE_BAD_FRAME',
    retry: 'next-generation',
    meaning: 'A lane delivered something that is no frame of this protocol.',
  },
  BUSY: {
    code: 'SKEIN_COLLECTIVE_BUSY',
    retry: 'never',
    meaning: 'A collective was started on memory that another one still uses.',
  },
  ARGUMENT: {
    code: 'SKEIN_COLLECTIVE_ARGUMENT',
    retry: 'never',
    meaning: 'A collective or a group was given a region, rank, tag or size that cannot be.',
  },
  CANCELLED: {
    code: 'SKEIN_COLLECTIVE_CANCELLED',
    retry: 'next-generation',
    meaning: 'The caller of one rank cancelled an op through its signal; the group ends on every rank.',
  },
  CLOSED: {
    code: 'SKEIN_COLLECTIVE_CLOSED',
    retry: 'next-generation',
    meaning: 'The group was closed while a collective was under way, or one was started after.',
  },
} as const satisfies Record<string, ErrorCode>

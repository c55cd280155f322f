import type { ErrorCode } from '@skein/core'

export const WireErrors = {
  FRAME_TRUNCATED: {
    code: 'SKEIN_WIRE_FRAME_TRUNCATED',
    retry: 'next-generation',
    meaning: 'Fewer bytes than a frame header.',
  },
  FRAME_GARBAGE: {
    code: 'SKEIN_WIRE_FRAME_GARBAGE',
    retry: 'next-generation',
    meaning: 'Bytes that are not a frame header: wrong magic or checksum.',
  },
  FRAME_VERSION: {
    code: 'SKEIN_WIRE_FRAME_VERSION',
    retry: 'never',
    meaning: 'A frame of another version of the frame format.',
  },
  FRAME_MALFORMED: {
    code: 'SKEIN_WIRE_FRAME_MALFORMED',
    retry: 'next-generation',
    meaning: 'A frame header whose fields contradict each other or name an unknown kind or dtype.',
  },
  FRAME_TOO_LARGE: {
    code: 'SKEIN_WIRE_FRAME_TOO_LARGE',
    retry: 'never',
    meaning: 'A frame whose payload is over the limit of the receiver.',
  },
  FRAME_GENERATION: {
    code: 'SKEIN_WIRE_FRAME_GENERATION',
    retry: 'next-generation',
    meaning: 'A frame of another generation than that of the lane.',
  },
  FRAME_SENDER: {
    code: 'SKEIN_WIRE_FRAME_SENDER',
    retry: 'next-generation',
    meaning: 'A frame from another rank than the peer of the lane.',
  },
  HEADER_FIELD: {
    code: 'SKEIN_WIRE_HEADER_FIELD',
    retry: 'never',
    meaning: 'A field of a frame header to be sent does not fit its place: a defect of the caller.',
  },
  MESSAGE_TOO_LARGE: {
    code: 'SKEIN_WIRE_MESSAGE_TOO_LARGE',
    retry: 'never',
    meaning: 'A control message over the limit of bytes.',
  },
  MESSAGE_GARBAGE: {
    code: 'SKEIN_WIRE_MESSAGE_GARBAGE',
    retry: 'never',
    meaning: 'Bytes that are not one msgpack value of the plain kinds.',
  },
  MESSAGE_INVALID: {
    code: 'SKEIN_WIRE_MESSAGE_INVALID',
    retry: 'never',
    meaning: 'A control message with an unknown type, a missing, unknown or bad field.',
  },
} as const satisfies Record<string, ErrorCode>

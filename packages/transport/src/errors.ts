import type { ErrorCode } from '@skein/core'

export const TransportErrors = {
  PORT_IN_USE: {
    code: 'SKEIN_TRANSPORT_PORT_IN_USE',
    retry: 'never',
    meaning: 'The port or socket path to listen on belongs to another process.',
  },
  LISTEN_FAILED: {
    code: 'SKEIN_TRANSPORT_LISTEN_FAILED',
    retry: 'never',
    meaning: 'The operating system refused to listen on the address.',
  },
  BAD_ADDRESS: {
    code: 'SKEIN_TRANSPORT_BAD_ADDRESS',
    retry: 'never',
    meaning: 'An address to dial that is not an http(s) URL, or a WebSocket lane over a socket path.',
  },
  UNREACHABLE: {
    code: 'SKEIN_TRANSPORT_UNREACHABLE',
    retry: 'same-op',
    meaning: 'Nobody answers at the address, or the connection broke before it was a link.',
  },
  HANDSHAKE_TIMEOUT: {
    code: 'SKEIN_TRANSPORT_HANDSHAKE_TIMEOUT',
    retry: 'same-op',
    meaning: 'The peer took the connection but did not finish the handshake in time.',
  },
  HANDSHAKE_INVALID: {
    code: 'SKEIN_TRANSPORT_HANDSHAKE_INVALID',
    retry: 'never',
    meaning: 'What answers at the address does not speak the protocol.',
  },
  UNAUTHORIZED: {
    code: 'SKEIN_TRANSPORT_UNAUTHORIZED',
    retry: 'never',
    meaning: 'The token was missing or wrong.',
  },
  TLS_IDENTITY: {
    code: 'SKEIN_TRANSPORT_TLS_IDENTITY',
    retry: 'never',
    meaning: 'Certificate, key or authority cannot be used: unreadable, of different pairs, or out of date.',
  },
  TLS_UNTRUSTED: {
    code: 'SKEIN_TRANSPORT_TLS_UNTRUSTED',
    retry: 'never',
    meaning: "The peer's certificate has expired, is of an unknown authority, or for another host.",
  },
  TLS_REFUSED: {
    code: 'SKEIN_TRANSPORT_TLS_REFUSED',
    retry: 'never',
    meaning: 'The peer wants a certificate of its authority, and was shown none or another.',
  },
  TLS_NEEDED: {
    code: 'SKEIN_TRANSPORT_TLS_NEEDED',
    retry: 'never',
    meaning: 'The peer takes TLS only, and was dialled without.',
  },
  TLS_NOT_SPOKEN: {
    code: 'SKEIN_TRANSPORT_TLS_NOT_SPOKEN',
    retry: 'never',
    meaning: 'The peer was dialled with TLS and does not speak it.',
  },
  REFUSED: {
    code: 'SKEIN_TRANSPORT_REFUSED',
    retry: 'next-generation',
    meaning: 'The peer refuses this lane: another generation, another rank, or one that is open already.',
  },
  BUSY: {
    code: 'SKEIN_TRANSPORT_BUSY',
    retry: 'same-op',
    meaning: 'The peer is at its limit of connections, or was not ready for this one in time.',
  },
  STANDBY: {
    code: 'SKEIN_TRANSPORT_STANDBY',
    retry: 'same-op',
    meaning: 'The coordinator there stands by; another one leads, or will in a moment.',
  },
  CLOSED: {
    code: 'SKEIN_TRANSPORT_CLOSED',
    retry: 'never',
    meaning: 'The link was closed on this side.',
  },
  PEER_CLOSED: {
    code: 'SKEIN_TRANSPORT_PEER_CLOSED',
    retry: 'next-generation',
    meaning: 'The peer closed the link in good order.',
  },
  PEER_RESET: {
    code: 'SKEIN_TRANSPORT_PEER_RESET',
    retry: 'next-generation',
    meaning: 'The link broke: the peer died, or the network between failed.',
  },
  HEARTBEAT_LOST: {
    code: 'SKEIN_TRANSPORT_HEARTBEAT_LOST',
    retry: 'next-generation',
    meaning: 'Nothing was heard from the peer for longer than allowed.',
  },
  PEER_SLOW: {
    code: 'SKEIN_TRANSPORT_PEER_SLOW',
    retry: 'next-generation',
    meaning: 'The peer does not read its control messages; more of them are waiting than allowed.',
  },
  UNEXPECTED_DATA: {
    code: 'SKEIN_TRANSPORT_UNEXPECTED_DATA',
    retry: 'never',
    meaning: 'The peer sent what has no place on this link.',
  },
  BAD_STRIPES: {
    code: 'SKEIN_TRANSPORT_BAD_STRIPES',
    retry: 'never',
    meaning: 'A number of stripes, or a channel for them, that no lane can have.',
  },
  BAD_DESTINATION: {
    code: 'SKEIN_TRANSPORT_BAD_DESTINATION',
    retry: 'never',
    meaning: 'A payload and the memory given for it differ in size: a defect of the caller.',
  },
} as const satisfies Record<string, ErrorCode>

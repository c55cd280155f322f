import { SkeinError } from '@skein/core'
import type { FrameHeader } from '@skein/wire'
import { TransportErrors } from './errors.ts'

/** @throws SKEIN_TRANSPORT_BAD_DESTINATION when the header speaks of another size */
export function checkPayload(header: FrameHeader, payload: Uint8Array): void {
  if (payload.byteLength === header.payloadBytes) return
  throw new SkeinError(TransportErrors.BAD_DESTINATION, {
    what: `a payload of ${payload.byteLength} B under a header that says ${header.payloadBytes} B`,
    why: 'a defect of the sender',
    todo: 'report it with the log of this process',
    details: { opSeq: header.opSeq, chunk: header.chunk },
  })
}

export function unexpectedData(name: string, what: string): SkeinError {
  return new SkeinError(TransportErrors.UNEXPECTED_DATA, {
    what: `the peer of ${name} sent ${what}`,
    why: 'another version of Skein, or another program',
    todo: 'run the same version on all machines; this link is closed',
  })
}

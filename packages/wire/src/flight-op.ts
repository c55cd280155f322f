import { z } from 'zod'
import { count, ms, name, rank, uint32 } from './fields.ts'

/** Ops in a flight record, and peers in one of its ops. */
export const maxFlightOps = 16
export const maxFlightPeers = 256

/** What one rank knows of one collective. Times are ages when the record was made: no clock of another machine is compared. */
export const flightOp = z.strictObject({
  opSeq: uint32,
  /** Index of the lanes it uses: 0 the ordinary, 1 the urgent ones. */
  channel: z.number().int().min(0).max(0xff),
  /** Such as "ring all-reduce". */
  name,
  elems: count,
  enteredAgoMs: ms,
  /** Missing while the op is under way. */
  leftAgoMs: ms.exactOptional(),
  /** 'running', 'done', or the code of the error that ended it. */
  outcome: name,
  bytesSent: count,
  peers: z
    .array(
      z.strictObject({
        peer: rank,
        framesSent: count,
        framesToSend: count,
        framesReceived: count,
        framesToReceive: count,
        bytesReceived: count,
        /** Of complete frames, from the header of each to its last byte. */
        receivingMs: ms,
        /** Since the header of the frame that is coming in now. */
        inFrameMs: ms.exactOptional(),
        /** A frame is here and waits until this rank has come so far: what is behind it is not the link's fault. */
        isParked: z.literal(true).exactOptional(),
      }),
    )
    .max(maxFlightPeers)
    .readonly(),
})

export type FlightOp = z.infer<typeof flightOp>

import type { Ms } from '@skein/core'

/** How far the messages between a rank and one peer are, in one op. */
export interface PeerTraffic {
  readonly peer: number
  readonly framesSent: number
  readonly framesToSend: number
  readonly framesReceived: number
  readonly framesToReceive: number
  readonly bytesReceived: number
  /** Time in which payloads of complete frames came in: from the header of each to its last byte. */
  readonly receivingMs: Ms
  /** How long the frame that is coming in now has been; missing where none is. */
  readonly inFrameMs?: Ms
  /** A frame is here and waits until the rank has come so far. */
  readonly isParked?: true
}

/** One op as one rank knows it. Ages are before the record was made, by the clock of the rank. */
export interface FlightOp {
  /** Counts the collectives of a channel; the same op has the same number on all ranks. */
  readonly opSeq: number
  readonly channel: number
  /** Such as "ring all-reduce". */
  readonly name: string
  readonly elems: number
  readonly enteredAgoMs: Ms
  /** Missing while the op is under way. */
  readonly leftAgoMs?: Ms
  readonly peers: readonly PeerTraffic[]
}

/**
 * The last ops of one rank, oldest first.
 *
 * No clock is compared with that of another machine: a record carries ages, and its reader adds the time since it came in. What
 * that misses is the time that the record was on its way.
 */
export interface FlightRecord {
  readonly rank: number
  /** How long ago this came in. */
  readonly ageMs: Ms
  readonly ops: readonly FlightOp[]
}

export const isUnderWay = (op: FlightOp): boolean => op.leftAgoMs === undefined

export const opName = (op: FlightOp): string => `${op.name} #${op.opSeq}`

import type { Ms } from '@skein/core'
import { type FlightOp, maxFlightOps, maxFlightPeers } from '@skein/wire'
import type { FlightEntry } from './flight-log.ts'

/**
 * The last collectives of a flight log as they travel: oldest first, times as ages before `nowMs`, so that clocks of different
 * machines need not agree. Messages are left out: their numbers are not those of other ranks. Of an op with very many peers those
 * come first that something is still to arrive from.
 */
export function flightReport(entries: readonly FlightEntry[], nowMs: Ms): FlightOp[] {
  return entries
    .filter(({ kind }) => kind !== 'message')
    .slice(-maxFlightOps)
    .map(entry => ({
      opSeq: entry.opSeq,
      channel: entry.channel,
      name: `${entry.algorithm} ${entry.kind}`,
      elems: entry.elems,
      enteredAgoMs: nowMs - entry.enteredMs,
      ...(entry.leftMs === undefined ? {} : { leftAgoMs: nowMs - entry.leftMs }),
      outcome: entry.outcome,
      bytesSent: entry.bytesSent,
      peers: peersOf(entry, nowMs),
    }))
}

function peersOf({ traffic }: FlightEntry, nowMs: Ms): FlightOp['peers'] {
  return [...traffic.values()]
    .toSorted((a, b) => b.framesToReceive - b.framesReceived - (a.framesToReceive - a.framesReceived))
    .slice(0, maxFlightPeers)
    .map(({ frameBegunMs, isParked, ...counts }) => ({
      ...counts,
      ...(frameBegunMs === undefined ? {} : { inFrameMs: nowMs - frameBegunMs }),
      ...(isParked ? { isParked } : {}),
    }))
}

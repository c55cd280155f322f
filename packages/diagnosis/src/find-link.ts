import type { Ms } from '@skein/core'
import { type FlightOp, type FlightRecord, isUnderWay } from './flight-record.ts'
import { findOp, oldestUnderWay } from './find-rank.ts'
import { median } from './robust.ts'

/** A link that moves its bytes much more slowly than the others move theirs, both ends being in the op. */
export interface SlowLink {
  readonly finding: 'slow-link'
  readonly src: number
  readonly dst: number
  readonly bytesPerSecond: number
  /** The median of the other links. */
  readonly othersBytesPerSecond: number
  readonly numOps: number
}

/** A link on which a frame is under way that does not arrive. */
export interface StuckLink {
  readonly finding: 'stuck-link'
  readonly src: number
  readonly dst: number
  readonly op: FlightOp
  /** Complete ones. */
  readonly framesReceived: number
  /** Since its header came; undefined where not even that did. */
  readonly inFrameMs: Ms | undefined
  readonly waitedMs: Ms
}

/** Ops that a decision about a link looks at: it must be slow in each of them. */
const numOps = 3
/** So many times as slow as the others. */
const slowFrom = 3
/** Fewer bytes in an op, or less time, say more about threads than about links. */
const leastBytes = 16_384
const leastMs = 2

interface Passage {
  readonly bytes: number
  readonly ms: Ms
}

interface Link {
  readonly src: number
  readonly dst: number
  /** In the last ops that moved enough, oldest first. */
  readonly passages: readonly Passage[]
}

/**
 * The slowest link, where it is slow: in each of its last three ops that moved bytes it took more than three times as long for a
 * byte as the median of the other links. A frame is sent when all of it is there, so the time from its header to its last byte is
 * the link's own, whenever the two ends came to the op.
 */
export function findSlowLink(records: readonly FlightRecord[]): SlowLink | undefined {
  const links = records.flatMap(linksInto)
  const rates = links.map(({ passages }) => rateOf(passages))
  let slowest: SlowLink | undefined
  for (const [i, { src, dst, passages }] of links.entries()) {
    const others = median(rates.toSpliced(i, 1))
    const isSlow = ({ bytes, ms }: Passage) => ms >= leastMs && bytes / ms < others / slowFrom
    if (passages.length < numOps || links.length < 2 || !passages.every(isSlow)) continue
    const rate = rates[i] as number
    if (slowest !== undefined && slowest.bytesPerSecond <= rate * 1000) continue
    slowest = {
      finding: 'slow-link',
      src,
      dst,
      bytesPerSecond: rate * 1000,
      othersBytesPerSecond: others * 1000,
      numOps: passages.length,
    }
  }
  return slowest
}

/**
 * The link that holds up the oldest op under way, all being in it: of those on which a frame was sent that has not arrived, the
 * one whose frame has been coming in longest. To be asked only of an op that takes far longer than usual.
 */
export function findStuckLink(records: readonly FlightRecord[]): StuckLink | undefined {
  return findStuckLinks(records).toSorted((a, b) => (b.inFrameMs ?? 0) - (a.inFrameMs ?? 0))[0]
}

/** All links on which a frame of the oldest op under way was sent that has not arrived, and does not wait at its destination. */
export function findStuckLinks(records: readonly FlightRecord[]): readonly StuckLink[] {
  const stuck = oldestUnderWay(records)
  if (stuck === undefined) return []
  const { op, waitedMs } = stuck
  return records.flatMap(record => {
    const own = findOp(record, op)
    if (own === undefined || !isUnderWay(own)) return []
    return own.peers.flatMap(({ peer, framesReceived, framesToReceive, inFrameMs, isParked }): StuckLink[] => {
      if (framesReceived === framesToReceive || isParked === true) return []
      const sent = records.find(one => one.rank === peer)
      const traffic = sent === undefined ? undefined : findOp(sent, op)?.peers.find(one => one.peer === record.rank)
      if (inFrameMs === undefined && (traffic === undefined || traffic.framesSent <= framesReceived)) return []
      const since = inFrameMs === undefined ? undefined : inFrameMs + record.ageMs
      return [
        { finding: 'stuck-link', src: peer, dst: record.rank, op: own, framesReceived, inFrameMs: since, waitedMs },
      ]
    })
  })
}

function linksInto({ rank, ops }: FlightRecord): readonly Link[] {
  const passages = new Map<number, Passage[]>()
  for (const { peers } of ops) {
    for (const { peer, bytesReceived, receivingMs } of peers) {
      if (bytesReceived < leastBytes) continue
      const list = passages.get(peer) ?? []
      passages.set(peer, list)
      list.push({ bytes: bytesReceived, ms: Math.max(receivingMs, 1e-3) })
    }
  }
  return [...passages].map(([src, list]) => ({ src, dst: rank, passages: list.slice(-numOps) }))
}

/** Bytes a millisecond. */
function rateOf(passages: readonly Passage[]): number {
  const bytes = passages.reduce((sum, passage) => sum + passage.bytes, 0)
  return bytes / passages.reduce((sum, passage) => sum + passage.ms, 0)
}

import type { Ms } from '@skein/core'
import { type FlightOp, type FlightRecord, isUnderWay } from './flight-record.ts'
import { distancesFromOthers, median } from './robust.ts'

/** Ranks that others wait for because they have not entered an op. */
export interface MissingRanks {
  readonly finding: 'missing-ranks'
  readonly ranks: readonly number[]
  readonly op: FlightOp
  /** How long the first rank has been in the op. */
  readonly waitedMs: Ms
}

/** A rank that enters ops after the others. */
export interface LateRank {
  readonly finding: 'late-rank'
  readonly rank: number
  readonly op: FlightOp
  /** Behind the median of the others, in the median of the ops looked at. */
  readonly lateMs: Ms
  readonly numOps: number
}

/** Ops that a decision about lateness looks at. */
const numOps = 3

/** Which ranks have not entered the oldest op that is under way anywhere; undefined where all have. */
export function findMissing(records: readonly FlightRecord[]): MissingRanks | undefined {
  const stuck = oldestUnderWay(records)
  if (stuck === undefined) return undefined
  const { channel, opSeq } = stuck.op
  const ranks = records.filter(record => lastEntered(record, channel) < opSeq).map(({ rank }) => rank)
  return ranks.length === 0 ? undefined : { finding: 'missing-ranks', ranks, ...stuck }
}

/**
 * The rank that entered last in each of the last ops that all have entered, at least `atLeastMs` behind the median of the
 * others. In an op every rank waits for the slowest, so all look slow there: what counts is when each came.
 */
export function findLate(records: readonly FlightRecord[], atLeastMs: Ms): LateRank | undefined {
  if (records.length < 2) return undefined
  const entries = commonOps(records).map(op => entriesOf(records, op))
  if (entries.length < numOps) return undefined
  const late = entries.map(entry => {
    const distances = distancesFromOthers(entry.agesMs)
    const least = Math.min(...distances)
    return { rank: entry.ranks[distances.indexOf(least)], lateMs: -least }
  })
  const rank = late[0]?.rank
  if (rank === undefined || late.some(one => one.rank !== rank || one.lateMs < atLeastMs)) return undefined
  const op = (entries.at(-1) as { op: FlightOp }).op
  return { finding: 'late-rank', rank, op, lateMs: median(late.map(one => one.lateMs)), numOps: late.length }
}

/** The op that the others wait behind: of each channel the first that is under way anywhere, and of those the longest. */
export function oldestUnderWay(
  records: readonly FlightRecord[],
): { readonly op: FlightOp; readonly waitedMs: Ms } | undefined {
  const underWay = records.flatMap(({ ops, ageMs }) =>
    ops.filter(isUnderWay).map(op => ({ op, waitedMs: op.enteredAgoMs + ageMs })),
  )
  const isFirst = ({ op }: { readonly op: FlightOp }) =>
    underWay.every(({ op: other }) => other.channel !== op.channel || other.opSeq >= op.opSeq)
  return underWay.filter(isFirst).toSorted((a, b) => b.waitedMs - a.waitedMs)[0]
}

/** Number of the last op that a rank has entered on a channel; -1 before the first. */
function lastEntered({ ops }: FlightRecord, channel: number): number {
  return ops.reduce((last, op) => (op.channel === channel ? Math.max(last, op.opSeq) : last), -1)
}

/** The last ops of the first channel that every rank has a record of, oldest first. */
function commonOps(records: readonly FlightRecord[]): readonly FlightOp[] {
  const [first, ...others] = records
  const shared = (first?.ops ?? []).filter(
    op => op.channel === 0 && others.every(record => findOp(record, op) !== undefined),
  )
  return shared.slice(-numOps)
}

function entriesOf(records: readonly FlightRecord[], op: FlightOp) {
  const agesMs = records.map(record => (findOp(record, op) as FlightOp).enteredAgoMs + record.ageMs)
  return { op, ranks: records.map(({ rank }) => rank), agesMs }
}

export function findOp({ ops }: FlightRecord, { channel, opSeq }: FlightOp): FlightOp | undefined {
  return ops.find(op => op.channel === channel && op.opSeq === opSeq)
}

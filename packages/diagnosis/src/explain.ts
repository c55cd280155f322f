import type { Ms } from '@skein/core'
import { findSlowLink, findStuckLink } from './find-link.ts'
import { findLate, findMissing } from './find-rank.ts'
import { type FlightRecord, opName } from './flight-record.ts'

/** What is known of a member beside its flight record. */
export interface MemberFacts {
  readonly workerId: string
  readonly rank: number
  /** Since its last sign of life; undefined when its link is gone. */
  readonly lastSeenMs: Ms | undefined
  readonly hasVoted: boolean
  /** Since its device thread asked for something; undefined where it gave no record. */
  readonly computingMs?: Ms | undefined
  readonly usualComputeMs?: Ms | undefined
  /** Why it counts as a straggler. */
  readonly straggler?: string | undefined
}

/** A run that trains, at one moment. */
export interface Situation {
  /** The step that comes next in the log. */
  readonly step: number
  /** Since the last commit. */
  readonly waitedMs: Ms
  readonly usualStepMs: Ms | undefined
  readonly members: readonly MemberFacts[]
  /** Of those members that gave theirs when asked now. */
  readonly records: readonly FlightRecord[]
}

export type CauseKind = 'silent-rank' | 'missing-rank' | 'stuck-link' | 'slow-link' | 'late-rank' | 'straggler'

/** One thing that holds the run up, the worst first. */
export interface Cause {
  readonly cause: CauseKind
  /** The worker to look at; of a link the sending one. */
  readonly workerId: string
  /** Of a link: the receiving one. */
  readonly to?: string
  readonly reason: string
}

export interface Explanation {
  /** One sentence. */
  readonly summary: string
  readonly causes: readonly Cause[]
}

/** A step counts as held up when it takes so many times its usual time, and at least a second. */
const heldUpFrom = 3
const leastHeldUpMs = 1000
/** Entries nearer to each other than this, or than a tenth of a step, are nobody's fault. */
const leastLateMs = 10

/** From when on a step is held up: what takes longer deserves a look. */
export function heldUpAfterMs(usualStepMs: Ms | undefined): Ms {
  return Math.max(leastHeldUpMs, heldUpFrom * (usualStepMs ?? 0))
}

/** Why a step is not committed yet, or what makes steps slow: names the rank or the link, the worst first. */
export function explain(situation: Situation): Explanation {
  const { step, waitedMs, usualStepMs } = situation
  const isHeldUp = waitedMs > heldUpAfterMs(usualStepMs)
  const causes = [
    ...silentRanks(situation),
    ...(isHeldUp ? missingRanks(situation) : []),
    ...(isHeldUp ? stuckLinks(situation) : []),
    ...slowLinks(situation),
    ...stragglersOf(situation),
    ...lateRanks(situation),
  ]
  const usually = usualStepMs === undefined ? '' : `, usually ${inWords(usualStepMs)}`
  const [worst] = causes
  const state = isHeldUp
    ? `step ${step} waits ${inWords(waitedMs)}`
    : `step ${step} is under way for ${inWords(waitedMs)}`
  const why = worst?.reason ?? (isHeldUp ? noReason(situation) : 'nothing holds it up')
  return { summary: `${state}${usually}: ${why}`, causes }
}

/** "3.2 s", "450 ms". */
export function inWords(ms: Ms): string {
  if (ms < 995) return `${Math.round(ms)} ms`
  return ms < 99_500 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`
}

const rateInWords = (bytesPerSecond: number) =>
  bytesPerSecond < 1e6
    ? `${Math.round(bytesPerSecond / 1e3)} kB/s`
    : `${Number((bytesPerSecond / 1e6).toPrecision(3))} MB/s`

function silentRanks({ members, records }: Situation): Cause[] {
  const silent = members.filter(({ rank }) => !records.some(record => record.rank === rank))
  return silent.map(({ workerId, rank, lastSeenMs }) => ({
    cause: 'silent-rank',
    workerId,
    reason:
      lastSeenMs === undefined
        ? `${named(workerId, rank)} has lost its link`
        : `${named(workerId, rank)} gives no answer; its last sign of life was ${inWords(lastSeenMs)} ago`,
  }))
}

function missingRanks({ members, records }: Situation): Cause[] {
  const missing = findMissing(records)
  if (missing !== undefined) {
    const others = `the others wait in it for ${inWords(missing.waitedMs)}`
    return members
      .filter(({ rank }) => missing.ranks.includes(rank))
      .map(member => ({
        cause: 'missing-rank',
        workerId: member.workerId,
        reason: `${named(member.workerId, member.rank)} has not entered ${opName(missing.op)}, ${others}; ${busyWith(member)}`,
      }))
  }
  // Nobody waits in a collective: those without a vote still compute, and the others have nothing more to do.
  if (records.some(({ ops }) => ops.some(op => op.leftAgoMs === undefined))) return []
  const late = members.filter(({ hasVoted, rank }) => !hasVoted && records.some(record => record.rank === rank))
  if (late.length === members.length) return []
  return late.map(member => ({
    cause: 'missing-rank',
    workerId: member.workerId,
    reason: `${named(member.workerId, member.rank)} has not voted; ${busyWith(member)}`,
  }))
}

function busyWith({ computingMs, usualComputeMs, lastSeenMs }: MemberFacts): string {
  const usually = usualComputeMs === undefined ? '' : `, usually ${inWords(usualComputeMs)}`
  const computes = computingMs === undefined ? '' : `it computes since ${inWords(computingMs)}${usually}; `
  return `${computes}${lastSeenMs === undefined ? 'its link is gone' : `its link lives (${inWords(lastSeenMs)} ago)`}`
}

function stuckLinks({ members, records }: Situation): Cause[] {
  // What others have not entered holds up more than any link.
  if (findMissing(records) !== undefined) return []
  const stuck = findStuckLink(records)
  if (stuck === undefined) return []
  const [workerId, to] = [nameOfRank(members, stuck.src), nameOfRank(members, stuck.dst)]
  const how =
    stuck.inFrameMs === undefined
      ? 'a frame was sent and has not arrived'
      : `a frame has been coming in for ${inWords(stuck.inFrameMs)}`
  const reason = `link ${workerId} → ${to}: ${how}; all ranks are in ${opName(stuck.op)} for up to ${inWords(stuck.waitedMs)}`
  return [{ cause: 'stuck-link', workerId, to, reason }]
}

function slowLinks({ members, records }: Situation): Cause[] {
  const slow = findSlowLink(records)
  if (slow === undefined) return []
  const [workerId, to] = [nameOfRank(members, slow.src), nameOfRank(members, slow.dst)]
  const others = rateInWords(slow.othersBytesPerSecond)
  const reason = `link ${workerId} → ${to}: ${rateInWords(slow.bytesPerSecond)} in the last ${slow.numOps} ops, others ${others}`
  return [{ cause: 'slow-link', workerId, to, reason }]
}

function stragglersOf({ members }: Situation): Cause[] {
  return members.flatMap(({ workerId, rank, straggler }): Cause[] =>
    straggler === undefined
      ? []
      : [{ cause: 'straggler', workerId, reason: `${named(workerId, rank)} is slow: ${straggler}` }],
  )
}

function lateRanks({ members, records, usualStepMs }: Situation): Cause[] {
  const late = findLate(records, Math.max(leastLateMs, (usualStepMs ?? 0) / 10))
  const member = members.find(({ rank }) => rank === late?.rank)
  if (late === undefined || member === undefined || member.straggler !== undefined) return []
  const { workerId, rank } = member
  const reason = `${named(workerId, rank)} entered each of the last ${late.numOps} collectives last, ${inWords(late.lateMs)} after the others`
  return [{ cause: 'late-rank', workerId, reason }]
}

function noReason({ members }: Situation): string {
  if (members.every(({ hasVoted }) => !hasVoted)) return 'all ranks compute, and none has entered a collective'
  return 'the records of the ranks show nobody who is missing and no link that is stuck'
}

const named = (workerId: string, rank: number) => `rank ${rank} (${workerId})`
const nameOfRank = (members: readonly MemberFacts[], rank: number) =>
  members.find(member => member.rank === rank)?.workerId ?? `rank ${rank}`

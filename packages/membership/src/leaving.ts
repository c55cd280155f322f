import type { ErrorRecord, Ms } from '@skein/core'
import { withoutAccusations } from './accusations.ts'
import { awaitingState, withoutWaiting } from './awaiting.ts'
import { isKept, isSaved } from './candidates.ts'
import { type Decision, type Effect, keep, withEffects } from './effects.ts'
import { endFailed, endOf, memberEvent } from './ending.ts'
import { MembershipErrors } from './errors.ts'
import { tryForm } from './forming.ts'
import { activeMembers, isActive, linksOf, memberOfLink, nameOf, withMember, withoutMember } from './members.ts'
import { considerRegroup, lastStepOf } from './newcomers.ts'
import { errorRecord, refuseStranger } from './refusing.ts'
import type { MemberChange } from './run-events.ts'
import type { LinkId, Member, MembershipState } from './state.ts'
import { strike } from './strikes.ts'

/** Fenced incarnations that are remembered. */
const maxFenced = 4_096

interface Removal {
  /** Its process may not come back under this incarnation. */
  readonly isFenced?: boolean
  /** Whether it counts against the worker. */
  readonly isStrike?: boolean
  /** The caller has something to add before the next generation is formed. */
  readonly withholdForm?: boolean
}

/**
 * A member goes. If it was in the generation, that ends at once for all: whoever is left is told, and goes on from the last commit in the
 * next one.
 */
export function removeMember(
  state: MembershipState,
  member: Member,
  change: MemberChange,
  reason: string,
  nowMs: Ms,
  { isFenced = false, isStrike = false, withholdForm = false }: Removal = {},
): Decision {
  const why = `${nameOf(member)} ${saidOf[change] ?? change}: ${reason}`
  if (state.phase === 'ended') {
    return { state: withoutMember(state, member.workerId), effects: [], reason: `${why}, after the end of the run` }
  }
  const struck = isStrike ? strike(state, member.workerId, nowMs) : state
  const fenced = isFenced
    ? [...struck.fenced, { incarnation: member.incarnation, isReplaced: change === 'fenced' }].slice(-maxFenced)
    : struck.fenced
  const without: MembershipState = { ...withoutMember(struck, member.workerId), fenced }
  const rest = change === 'reconnected' ? without : withoutAccusations(without, member.workerId)
  const effects: Effect[] = [{ type: 'emit', event: memberEvent(member, change, reason) }]
  if (state.phase === 'gathering' || state.phase === 'paused') {
    const left = withoutWaiting(rest, member.workerId)
    const next = isKept(state) && !isKept(left) ? awaitingState(left, nowMs) : left
    return withholdForm ? { state: next, effects, reason: why } : tryForm(next, effects, nowMs, why)
  }
  if (!isActive(member)) return { state: rest, effects, reason: `${why}; it was not in the generation` }
  const { active, finished } = rest.members.tally
  const haveOthersFinished = finished === active && (active > 0 || member.finished !== undefined)
  if (state.phase === 'finishing' && isSaved(state) && haveOthersFinished)
    return withEffects(endOf(rest, nowMs), effects)
  if (state.phase === 'finishing' && member.finished !== undefined) {
    return { state: rest, effects, reason: `${why}, after it had finished` }
  }
  return endGeneration(rest, effects, { error: workerLost(state, member, reason), why, nowMs, withholdForm })
}

const saidOf: Partial<Record<MemberChange, string>> = {
  lost: 'was lost',
  evicted: 'was evicted',
  fenced: 'was replaced',
}

/** The generation is over before its time. Its members undo what is not committed and wait. */
export function endGeneration(
  state: MembershipState,
  before: readonly Effect[],
  facts: {
    readonly error: ErrorRecord
    readonly why: string
    readonly nowMs: Ms
    readonly suspects?: readonly string[]
    readonly withholdForm?: boolean
  },
): Decision {
  const { error, why, nowMs, suspects = [], withholdForm = false } = facts
  const links = linksOf(activeMembers(state))
  const { blameMs, regatherMs } = state.config.deadlines
  const untilMs = nowMs + blameMs
  const next: MembershipState = {
    ...state,
    phase: 'gathering',
    endedRanks: new Map(activeMembers(state).map(({ rank, workerId }) => [rank, workerId])),
    members: state.members.each(member => ({
      ...member,
      rank: undefined,
      ready: undefined,
      vote: undefined,
      finished: undefined,
    })),
    // A worker whose connection broke may come back with what nobody else has.
    gathering: { isFirst: false, suspects, expected: [], untilMs, stateUntilMs: nowMs + regatherMs },
    regroup: undefined,
    reshare: undefined,
    saving: [],
    pendingEvaluations: [],
    deadlineMs: untilMs,
  }
  const abort: Effect[] =
    links.length === 0
      ? []
      : [{ type: 'broadcast', links, message: { type: 'abort', generation: state.generation, error } }]
  const effects = [...before, ...abort]
  return withholdForm ? { state: next, effects, reason: why } : tryForm(next, effects, nowMs, why)
}

/** A control link is gone: reset, closed, or silent for too long. */
export function onLinkLost(
  state: MembershipState,
  link: LinkId,
  reason: string,
  isSilent: boolean,
  nowMs: Ms,
): Decision {
  const member = memberOfLink(state, link)
  if (member === undefined) return keep(state, `a link that is no member's was lost: ${reason}`)
  return removeMember(state, member, 'lost', reason, nowMs, { isFenced: isSilent, isStrike: true })
}

/** A worker wants to go: after the steps under way where it takes part in them, else at once. */
export function onLeft(state: MembershipState, link: LinkId, reason: string, nowMs: Ms): Decision {
  const member = memberOfLink(state, link)
  if (member === undefined) return keep(state, 'a link that is no member said good-bye')
  if (member.leaving !== undefined) return keep(state, `${nameOf(member)} is leaving already`)
  const isNeeded = isActive(member) && (state.phase === 'training' || state.phase === 'preparing')
  const canWait = isNeeded && state.committed.step + 2 < lastStepOf(state)
  if (isActive(member) && (state.phase === 'finishing' || (state.phase === 'training' && !canWait))) {
    return keep(
      withMember(state, member.workerId, { leaving: reason }),
      `${nameOf(member)} leaves at the end, which is near`,
    )
  }
  if (state.phase === 'gathering' || state.phase === 'paused') {
    return tryForm(
      withMember(state, member.workerId, { leaving: reason }),
      [],
      nowMs,
      `${nameOf(member)} leaves: ${reason}`,
    )
  }
  if (isNeeded) {
    const effects: Effect[] = [{ type: 'emit', event: memberEvent(member, 'leaving', reason) }]
    const next = withMember(state, member.workerId, { leaving: reason })
    return withEffects(considerRegroup(next, [], nowMs, `${nameOf(member)} leaves: ${reason}`), effects)
  }
  const gone = removeMember(state, member, 'left', reason, nowMs)
  return { ...gone, effects: [...gone.effects, { type: 'send', link, message: { type: 'finish' } }] }
}

/**
 * A worker reports an error of its own: its process ends. The others go on; if nobody is left, it was the run's error, and the first such
 * report since the last commit is what ended the run.
 */
export function onFailed(state: MembershipState, link: LinkId, error: ErrorRecord, nowMs: Ms): Decision {
  const member = memberOfLink(state, link)
  if (member === undefined) return refuseStranger(state, link, 'a failure report')
  if (state.phase === 'ended') return keep(state, `${nameOf(member)} reported ${error.code} after the end of the run`)
  const own: ErrorRecord = {
    ...error,
    what: `${nameOf(member)}: ${error.what}`,
    details: { ...error.details, workerId: member.workerId, step: state.committed.step },
  }
  const failure = state.failure ?? own
  const known: MembershipState = { ...state, failure }
  const reason = `${error.code}: ${error.what}`
  const isLast = state.members.length === 1
  if (isLast) {
    const event: Effect = { type: 'emit', event: memberEvent(member, 'failed', reason) }
    const failedId = failure.details['workerId']
    return withEffects(endFailed(known, failure, typeof failedId === 'string' ? failedId : member.workerId), [event])
  }
  return removeMember(known, member, 'failed', reason, nowMs, { isFenced: true, isStrike: true })
}

export function workerLost(state: MembershipState, member: Member, reason: string): ErrorRecord {
  return errorRecord(MembershipErrors.WORKER_LOST, {
    what: `${nameOf(member)}, pid ${member.pid}, was lost after committed step ${state.committed.step}`,
    why: reason,
    todo: `nothing: the others go on from that step; the log of worker ${member.workerId} may say more`,
    details: { workerId: member.workerId, rank: member.rank, pid: member.pid, step: state.committed.step },
  })
}

import type { ErrorRecord, Ms } from '@skein/core'
import { mayTakePart } from './candidates.ts'
import { type Decision, type Effect, keep } from './effects.ts'
import { memberEvent } from './ending.ts'
import { generationMembers, laneToken, tryForm } from './forming.ts'
import {
  activeMembers,
  holdsCommitted,
  isActive,
  linksOf,
  listNames,
  memberOfLink,
  nameOf,
  partOfRank,
  withMember,
} from './members.ts'
import { refuseStranger } from './refusing.ts'
import { completion, leastWorkers, nearPart, partsToFollow } from './seating.ts'
import type { HeldState, LinkId, Member, MembershipState } from './state.ts'

/*
 * Those who come while others train are taken in where a step ends, so that nobody redoes anything for them. Before that they may get the
 * state, or part of it; what they lack then, they get from the others before the next step.
 */

/** One that waits has model and data: it is told where the state is to be had, now or when the next generation has begun. */
export function catchUp(state: MembershipState, member: Member, why: string): Decision {
  if (state.phase !== 'training') return keep(state, `${why}; it waits for the next generation`)
  const told = catchUps(state, other => other.workerId === member.workerId)
  return { ...told, reason: `${why}; it catches up with generation ${state.generation}` }
}

/**
 * Tells those who wait where the state is to be had from now on, and which part of it they are to get: all that `isConcerned`, and whoever goes
 * after another part than so far.
 */
export function catchUps(
  state: MembershipState,
  isConcerned: (member: Member) => boolean,
): { readonly state: MembershipState; readonly effects: readonly Effect[] } {
  const waiting = state.members.filter(member => !isActive(member) && member.loaded !== undefined)
  if (waiting.length === 0) return { state, effects: [] }
  const { parts } = state.config
  const partOf = partsToFollow(state, waiting)
  const told = waiting.filter(member => isConcerned(member) || member.part !== partOf.get(member.workerId))
  const { generation } = state
  const { step } = state.committed
  const followers = told.map(member => goingAfter(member, partOf.get(member.workerId) as number, generation, step))
  const members = generationMembers(activeMembers(state))
  const effects = Map.groupBy(followers, ({ part = 0 }) => part)
  return {
    state: { ...state, members: followers.reduce((roster, follower) => roster.with(follower), state.members) },
    effects: [...effects].map(([part, followers]) => ({
      type: 'broadcast',
      links: linksOf(followers),
      message: { type: 'catch-up', generation, parts, part, members, laneToken: laneToken(state), step },
    })),
  }
}

/**
 * What it has of another part is written over; so is a step beyond the last commit, one that was not committed or from before the run went back, and
 * it is not counted on when the others come to that step.
 */
function goingAfter(member: Member, part: number, generation: number, committedStep: number): Member {
  const isSamePart = part === nearPart(member)
  const holds = isSamePart ? member.holds.filter(({ step }) => step <= committedStep) : []
  const isNear = isSamePart && (holds.length > 0 || member.holds.length === 0)
  const keeps = member.keeps.filter(kept => kept.part === part)
  return { ...member, part, follows: generation, holds, keeps, caughtUp: member.caughtUp && isNear }
}

/** A worker that waits has got a state near the last commit. */
export function onCaughtUp(
  state: MembershipState,
  link: LinkId,
  generation: number,
  holds: readonly HeldState[],
  nowMs: Ms,
): Decision {
  const member = memberOfLink(state, link)
  if (member === undefined) return refuseStranger(state, link, 'a report of the state it holds')
  if (state.phase === 'ended' || isActive(member))
    return keep(state, `${nameOf(member)} holds what the log says already`)
  const isStale = member.part !== undefined && holds.some(({ part }) => part !== member.part)
  if (isStale) return keep(state, `${nameOf(member)} told of another part than it goes after by now`)
  // By now that may be written over.
  if (generation !== (member.follows ?? generation))
    return keep(state, `${nameOf(member)} told of what it held of generation ${generation}`)
  const next = withMember(state, member.workerId, { holds, caughtUp: true })
  const why = `${nameOf(member)} holds step ${holds[0]?.step ?? 0}`
  if (state.phase === 'gathering' || state.phase === 'paused') return tryForm(next, [], nowMs, why)
  return considerRegroup(next, [], nowMs, why)
}

/**
 * One that waits gets no state from those who train, however often it asks: it could not train with them either, by the same addresses. So they
 * do not wait for it, whoever watches is told, and it may have caught up yet.
 */
export function onCatchUpFailed(
  state: MembershipState,
  link: LinkId,
  generation: number,
  { what, why }: ErrorRecord,
): Decision {
  const member = memberOfLink(state, link)
  if (member === undefined) return refuseStranger(state, link, 'a report that it cannot catch up')
  const isOver = state.phase !== 'training' || generation !== state.generation
  if (isOver || isActive(member))
    return keep(state, `${nameOf(member)} could not catch up with generation ${generation}`)
  const reason = why === undefined ? what : `${what} (${why})`
  return {
    state: withMember(state, member.workerId, { caughtUp: false }),
    effects: [{ type: 'emit', event: memberEvent(member, 'cannot-catch-up', reason) }],
    reason: `${nameOf(member)} cannot catch up: ${reason}`,
  }
}

/**
 * Whether the generation should end at a step to come, for those who want to leave or to be taken in: then it is announced two steps
 * ahead, beyond which nobody can be (see `onStopRequested`), so that no work is lost.
 */
export function considerRegroup(state: MembershipState, before: readonly Effect[], nowMs: Ms, why: string): Decision {
  const asIs: Decision = { state, effects: before, reason: why }
  if (state.phase !== 'training' || state.regroup !== undefined) return asIs
  const { config, committed } = state
  const active = activeMembers(state)
  const leaving = active.filter(member => member.leaving !== undefined)
  const isTooSoon = nowMs - (state.lastAdmissionMs ?? Number.NEGATIVE_INFINITY) < config.deadlines.admitMs
  const waiting = isTooSoon ? [] : state.members.filter(member => isAdmissible(state, member, nowMs))
  const staying = active.filter(member => member.leaving === undefined)
  const { coming, replicas } = completion(state, staying, waiting)
  if (leaving.length === 0 && coming.length === 0) return asIs
  const afterStep = committed.step + 2
  // The run ends by then anyway.
  if (afterStep >= lastStepOf(state)) return asIs
  const said = [
    ...(coming.length === 0 ? [] : [`${listNames(coming.map(member => member.workerId))} to be taken in`]),
    ...(leaving.length === 0 ? [] : [`${listNames(leaving.map(member => member.workerId))} to leave`]),
  ].join(', ')
  const saves = replicas * config.parts < leastWorkers(config) || isPartGoing(state, active, coming)
  const effects: Effect[] = [
    ...before,
    ...coming.map(
      (member): Effect => ({
        type: 'emit',
        event: memberEvent(member, 'caught-up', `to be taken in after step ${afterStep}`),
      }),
    ),
    {
      type: 'broadcast',
      links: linksOf(active),
      message: {
        type: 'regroup',
        generation: state.generation,
        afterStep,
        reason: said,
        save: saves,
      },
    },
  ]
  return {
    state: { ...near(state, coming), regroup: { afterStep, reason: said, saves } },
    effects,
    reason: `${why}; the generation ends after step ${afterStep}: ${said}`,
  }
}

/**
 * Whether a part goes with those who leave: who comes for it is near to the state, but does not have it, and there is no room for both. Then the
 * state goes to disk.
 */
function isPartGoing(state: MembershipState, active: readonly Member[], coming: readonly Member[]): boolean {
  if (completion(state, active, coming).replicas > 1) return false
  const kept = new Set(active.flatMap(({ leaving, rank }) => (leaving === undefined ? [partOfRank(state, rank)] : [])))
  return kept.size < state.config.parts
}

/** Who holds the last commit now lacks two steps at the most when it is taken in. */
const near = (state: MembershipState, coming: readonly Member[]): MembershipState =>
  coming.reduce((next, { workerId }) => withMember(next, workerId, { caughtUp: true }), state)

/** The last step to be made, as things stand. */
export const lastStepOf = ({ config, stop }: MembershipState): number =>
  Math.min(config.totalSteps, stop?.afterStep ?? config.totalSteps)

/** Whether this one, who waits, could go on with the others; what it still lacks it gets while they wait. */
function isAdmissible(state: MembershipState, member: Member, nowMs: Ms): boolean {
  return !isActive(member) && mayTakePart(member, nowMs) && (member.caughtUp || holdsCommitted(state, member))
}

import type { Ms } from '@skein/core'
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
  withMember,
} from './members.ts'
import { refuseStranger } from './refusing.ts'
import type { HeldState, LinkId, Member, MembershipState } from './state.ts'

/*
 * Those who come while others train are taken in where a step ends, so that nobody redoes anything for them. Before that they may get the
 * state, or part of it; what they lack then, they get from the others before the next step.
 */

/** One that waits has model and data: it is told where the state is to be had, now or when the next generation has begun. */
export function catchUp(state: MembershipState, member: Member, why: string): Decision {
  if (state.phase !== 'training') return keep(state, `${why}; it waits for the next generation`)
  return {
    state,
    effects: catchUps(state, [member]),
    reason: `${why}; it catches up with generation ${state.generation}`,
  }
}

/** Tells those of `members` who wait where the state is to be had from now on, also those who had caught up with an earlier generation. */
export function catchUps(state: MembershipState, waiting: readonly Member[]): Effect[] {
  const links = linksOf(waiting.filter(member => !isActive(member) && member.loaded !== undefined))
  if (links.length === 0) return []
  const members = generationMembers(activeMembers(state))
  const { generation } = state
  return [{ type: 'broadcast', links, message: { type: 'catch-up', generation, members, laneToken: laneToken(state) } }]
}

/** A worker that waits has got a state near the last commit. */
export function onCaughtUp(state: MembershipState, link: LinkId, holds: readonly HeldState[], nowMs: Ms): Decision {
  const member = memberOfLink(state, link)
  if (member === undefined) return refuseStranger(state, link, 'a report of the state it holds')
  if (state.phase === 'ended' || isActive(member))
    return keep(state, `${nameOf(member)} holds what the log says already`)
  const next = withMember(state, member.workerId, { holds, caughtUp: true })
  const why = `${nameOf(member)} holds step ${holds[0]?.step ?? 0}`
  if (state.phase === 'gathering' || state.phase === 'paused') return tryForm(next, [], nowMs, why)
  return considerRegroup(next, [], nowMs, why)
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
  const room = config.maxWorkers - (active.length - leaving.length)
  const isTooSoon = nowMs - (state.lastAdmissionMs ?? Number.NEGATIVE_INFINITY) < config.deadlines.admitMs
  const waiting = isTooSoon ? [] : state.members.filter(member => isAdmissible(state, member, nowMs))
  const coming = waiting.slice(0, room)
  if (leaving.length === 0 && coming.length === 0) return asIs
  const afterStep = committed.step + 2
  // The run ends by then anyway.
  if (afterStep >= lastStepOf(state)) return asIs
  const said = [
    ...(coming.length === 0 ? [] : [`${listNames(coming.map(member => member.workerId))} to be taken in`]),
    ...(leaving.length === 0 ? [] : [`${listNames(leaving.map(member => member.workerId))} to leave`]),
  ].join(', ')
  const saves = active.length - leaving.length + coming.length < config.minWorkers
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

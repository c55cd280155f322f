import type { Ms } from '@skein/core'
import { compareWorkerIds, holdsCommitted } from './members.ts'
import type { StateOrigin } from './messages.ts'
import type { Member, MembershipState } from './state.ts'

/** Whether a member that waits could be in a generation formed now. */
export const mayTakePart = (member: Member, nowMs: Ms): boolean =>
  member.loaded !== undefined && member.notBeforeMs <= nowMs

/** Those who could. Who alone has the last commit is needed at once, however often it has failed. */
export function candidatesOf(state: MembershipState, nowMs: Ms): Member[] {
  const candidates = state.members.filter(member => mayTakePart(member, nowMs))
  if (originOf(state, candidates) !== undefined) return candidates
  const isNeeded = (member: Member) => member.loaded !== undefined && holdsCommitted(state, member)
  return state.members.filter(member => mayTakePart(member, nowMs) || isNeeded(member))
}

/** Where the state after the last commit is to be had; undefined: from none of these, nor from disk. */
export function originOf(state: MembershipState, candidates: readonly Member[]): StateOrigin['kind'] | undefined {
  if (candidates.some(member => holdsCommitted(state, member))) return 'members'
  if (isSaved(state)) return 'checkpoint'
  return state.committed.step === 0 ? 'initial' : undefined
}

/** Whether the last commit is on disk. */
export const isSaved = ({ checkpoint, committed }: MembershipState): boolean => checkpoint?.step === committed.step

/** Whether it is to be had from someone here, or from disk. */
export const isKept = (state: MembershipState): boolean =>
  originOf(
    state,
    state.members.filter(member => member.loaded !== undefined),
  ) !== undefined

/**
 * Nobody is left who holds the last commit: the run goes back to its newest checkpoint, or to its beginning. What members have said to hold is of no
 * use there, and may not be true any more: who went after the last commit has written it over what it held before.
 */
export function rewound(state: MembershipState): MembershipState {
  const step = state.checkpoint?.step ?? 0
  return {
    ...state,
    committed: { step, digest: undefined, samplesTo: step * state.config.globalBatch },
    members: state.members.each(member => ({ ...member, holds: [] })),
  }
}

/**
 * At most the maximum: who holds the state, then who has caught up, then by the order of joining; in rank order. Where the first two are enough
 * the others are left to catch up: nobody waits for a whole state.
 */
export function choose(state: MembershipState, candidates: readonly Member[]): Member[] {
  const { minWorkers, maxWorkers } = state.config
  const holding = candidates.filter(member => holdsCommitted(state, member))
  const others = candidates.filter(member => !holdsCommitted(state, member))
  const near = others.filter(member => member.caughtUp)
  const isEnough = holding.length > 0 && holding.length + near.length >= minWorkers
  const far = isEnough ? [] : others.filter(member => !member.caughtUp)
  return [...holding, ...near, ...far].slice(0, maxWorkers).sort((a, b) => compareWorkerIds(a.workerId, b.workerId))
}

/** The same as workers are told it: by the ranks of those who hold the state. */
export function originFor(state: MembershipState, active: readonly Member[]): StateOrigin {
  const ranks = active.flatMap(member => (holdsCommitted(state, member) ? [member.rank as number] : []))
  if (ranks.length > 0) return { kind: 'members', ranks }
  const { checkpoint } = state
  if (checkpoint !== undefined && isSaved(state)) return { kind: 'checkpoint', path: checkpoint.path }
  return { kind: 'initial' }
}

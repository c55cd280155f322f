import type { Ms } from '@skein/core'
import { heldPart, holdsCommitted, isAllHeld, partOfRank } from './members.ts'
import type { StateOrigin } from './messages.ts'
import type { Member, MembershipState } from './state.ts'

/** Whether a member that waits could be in a generation formed now. */
export const mayTakePart = (member: Member, nowMs: Ms): boolean =>
  member.loaded !== undefined && member.notBeforeMs <= nowMs

/** Those who could. Who alone has the last commit, or a part of it, is needed at once, however often it has failed. */
export function candidatesOf(state: MembershipState, nowMs: Ms): Member[] {
  const candidates = state.members.filter(member => mayTakePart(member, nowMs))
  if (originOf(state, candidates) !== undefined) return candidates
  const isNeeded = (member: Member) => member.loaded !== undefined && holdsCommitted(state, member)
  return state.members.filter(member => mayTakePart(member, nowMs) || isNeeded(member))
}

/** Where the state after the last commit is to be had; undefined: from none of these, nor from disk. */
export function originOf(state: MembershipState, candidates: readonly Member[]): StateOrigin['kind'] | undefined {
  if (isAllHeld(state, candidates)) return 'members'
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
 * Nobody is left who holds the last commit, or a part of it: the run goes back as a whole to its newest checkpoint, or to its beginning. What members have said to hold is of no
 * use there, and may not be true any more: who went after the last commit has written it over what it held before.
 */
export function rewound(state: MembershipState): MembershipState {
  const step = state.checkpoint?.step ?? 0
  return {
    ...state,
    committed: { step, digests: undefined, samplesTo: step * state.config.globalBatch },
    members: state.members.each(member => ({ ...member, holds: [] })),
  }
}

/** The same as workers are told it: by the ranks of those who hold what is theirs. */
export function originFor(state: MembershipState, active: readonly Member[]): StateOrigin {
  const { checkpoint } = state
  if (isAllHeld(state, active)) {
    const isHolding = (member: Member) => heldPart(state, member) === partOfRank(state, member.rank)
    return { kind: 'members', ranks: active.flatMap(member => (isHolding(member) ? [member.rank as number] : [])) }
  }
  if (checkpoint !== undefined && isSaved(state)) return { kind: 'checkpoint', path: checkpoint.path }
  return { kind: 'initial' }
}

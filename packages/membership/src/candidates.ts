import type { Ms } from '@skein/core'
import { heldPart, holdsCommitted, isAllHeld, keptParts, partOfRank, trainedPart } from './members.ts'
import type { StateOrigin } from './messages.ts'
import type { Committed, Member, MembershipState } from './state.ts'

/** Whether a member that waits could be in a generation formed now. */
export const mayTakePart = (member: Member, nowMs: Ms): boolean =>
  member.loaded !== undefined && member.notBeforeMs <= nowMs

/** Those who could. Who alone has the last commit, or a part of it, or of the step that the run would go back to, is needed at once, however often it has failed. */
export function candidatesOf(state: MembershipState, nowMs: Ms): Member[] {
  const candidates = state.members.filter(member => mayTakePart(member, nowMs))
  if (originOf(state, candidates) !== undefined) return candidates
  const mirrored = mirrorOf(state)
  const isNeeded = (member: Member) =>
    member.loaded !== undefined &&
    (holdsCommitted(state, member) || (mirrored !== undefined && keptParts(mirrored, member).length > 0))
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

/** The log as it was after `step`. */
export const goneBackTo = (
  { config }: MembershipState,
  step: number,
  digests: readonly string[] | undefined,
): Committed => ({ step, digests, samplesTo: step * config.globalBatch })

/** The run as it would be back at the last mirrored step; undefined where there is none, or a checkpoint is newer. */
export function mirrorOf(state: MembershipState): MembershipState | undefined {
  const { mirror, checkpoint } = state
  if (mirror === undefined || mirror.step < (checkpoint?.step ?? 0)) return undefined
  const { step, digests } = mirror
  return {
    ...state,
    committed: goneBackTo(state, step, digests),
    members: state.members.each(member => ({
      ...member,
      holds: [],
      keeps: member.keeps.filter(kept => kept.step === step),
    })),
  }
}

/** The same as workers are told it: by the ranks of those who hold what is theirs. */
export function originFor(state: MembershipState, active: readonly Member[]): StateOrigin {
  const { checkpoint } = state
  if (isAllHeld(state, active)) {
    const ranksOf = (is: (member: Member) => boolean) =>
      active.flatMap(member => (is(member) ? [member.rank as number] : []))
    const isHolding = (member: Member) => heldPart(state, member) === partOfRank(state, member.rank)
    const isTraining = (member: Member, part: number) => trainedPart(state, member) === part
    const missing = Array.from({ length: state.config.parts }, (_, part) => part).filter(
      part => !active.some(member => isHolding(member) && isTraining(member, part)),
    )
    const copies = missing.map(part => ({
      part,
      ranks: ranksOf(member => isHolding(member) && keptParts(state, member).includes(part)),
    }))
    return { kind: 'members', ranks: ranksOf(isHolding), ...(copies.length === 0 ? {} : { copies }) }
  }
  if (checkpoint !== undefined && isSaved(state)) return { kind: 'checkpoint', path: checkpoint.path }
  return { kind: 'initial' }
}

import type { Ms } from '@skein/core'
import { compareWorkerIds, lostWith } from './members.ts'
import type { Member, MembershipState } from './state.ts'
import { forgiveMs } from './strikes.ts'

/** A frame that did not arrive as it was sent. */
export interface Corruption {
  readonly reporter: string
  readonly sender: string
  readonly atMs: Ms
}

/** So many lately, and it is no accident. */
const maxCorruptions = 3
/** More are not remembered. */
const mostKept = 256
/** Codes by which collectives report such a frame: its payload, or its header. */
const corruptCodes: ReadonlySet<string> = new Set(['SKEIN_COLLECTIVE_CORRUPT', 'SKEIN_COLLECTIVE_BAD_FRAME'])

export const isCorruption = ({ code }: { readonly code: string }): boolean => corruptCodes.has(code)

export function withCorruption(state: MembershipState, corruption: Corruption): MembershipState {
  const recent = state.corruptions.filter(one => corruption.atMs - one.atMs <= forgiveMs)
  return { ...state, corruptions: [...recent, corruption].slice(-mostKept) }
}

export function withoutCorruptions(state: MembershipState, workerId: string): MembershipState {
  const corruptions = state.corruptions.filter(one => one.reporter !== workerId && one.sender !== workerId)
  return { ...state, corruptions }
}

/**
 * Who has had a part in too many of them: as the sender or as the reporter, whose network or memory may be the bad one as well. The one with
 * most, and between equals the one who sent most; never one that the last commit is with alone.
 */
export function repeatOffender(state: MembershipState, nowMs: Ms): Member | undefined {
  const recent = state.corruptions.filter(one => nowMs - one.atMs <= forgiveMs)
  const partsOf = ({ workerId }: Member) => recent.filter(one => one.reporter === workerId || one.sender === workerId)
  const sentBy = ({ workerId }: Member) => recent.filter(one => one.sender === workerId).length
  return state.members
    .filter(member => partsOf(member).length >= maxCorruptions)
    .toSorted(
      (a, b) =>
        lostWith(state, a) - lostWith(state, b) ||
        partsOf(b).length - partsOf(a).length ||
        sentBy(b) - sentBy(a) ||
        compareWorkerIds(b.workerId, a.workerId),
    )[0]
}

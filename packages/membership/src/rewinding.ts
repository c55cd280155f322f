import { goneBackTo, mirrorOf } from './candidates.ts'
import { asIn, isAllHeld, keptParts } from './members.ts'
import { choose } from './seating.ts'
import type { Member, MembershipState } from './state.ts'

/** A run that has gone back. */
export interface Rewound {
  readonly state: MembershipState
  readonly to: 'mirror' | 'checkpoint' | 'beginning'
  readonly reason: string
}

/**
 * Nobody is left who holds the last commit, or a part of it: the run goes back as a whole. To the last mirrored step, where these still keep all
 * parts of it and no checkpoint is newer; else to its newest checkpoint, or to its beginning. What members have said to hold is of no use there, and may
 * not be true any more: who went after the last commit has written it over what it held before. What they keep is written over by nothing but another mirror.
 */
export function rewound(state: MembershipState, candidates: readonly Member[]): Rewound {
  const nobody = 'nobody is left who holds a later state, the run goes back to step'
  const mirrored = mirrorOf(state)
  if (mirrored !== undefined && isAllHeld(mirrored, choose(mirrored, asIn(mirrored, candidates)))) {
    const { step } = mirrored.committed
    return { state: mirrored, to: 'mirror', reason: `${nobody} ${step}, which they keep in memory` }
  }
  const onDisk = backToDisk(state)
  return {
    state: onDisk,
    to: state.checkpoint === undefined ? 'beginning' : 'checkpoint',
    reason: `${nobody} ${onDisk.committed.step}${whyNotMirrored(state, mirrored, candidates)}`,
  }
}

/** The run at its newest checkpoint, or at its beginning. */
export function backToDisk(state: MembershipState): MembershipState {
  const step = state.checkpoint?.step ?? 0
  return {
    ...state,
    committed: goneBackTo(state, step, undefined),
    mirror: undefined,
    members: state.members.each(member => ({ ...member, holds: [], keeps: [] })),
  }
}

function whyNotMirrored(
  { mirror, config }: MembershipState,
  mirrored: MembershipState | undefined,
  candidates: readonly Member[],
): string {
  if (mirror === undefined) return ''
  if (mirrored === undefined) return `, which is newer than step ${mirror.step}, the last that is mirrored`
  const kept = new Set(asIn(mirrored, candidates).flatMap(member => keptParts(mirrored, member)))
  const missing = Array.from({ length: config.parts }, (_, part) => part).filter(part => !kept.has(part))
  return `: of step ${mirror.step}, the last that is mirrored, nobody is left who keeps ${missing.length === 1 ? 'part' : 'parts'} ${missing.join(', ')}`
}

import type { Ms } from '@skein/core'
import type { Decision, Effect } from './effects.ts'
import { tryForm } from './forming.ts'
import type { MembershipState } from './state.ts'

/** Whether the announced end of the generation has come: its last step is committed, and on disk where nobody may be left to hold it. */
export function isRegroupDue({ regroup, committed, checkpoint }: MembershipState): boolean {
  if (regroup === undefined || committed.step < regroup.afterStep) return false
  return !regroup.saves || checkpoint?.step === committed.step
}

/** The generation ends in good order, where it was announced to. */
export function nextGeneration(state: MembershipState, before: readonly Effect[], nowMs: Ms): Decision {
  const why = `step ${state.committed.step} committed; ${state.regroup?.reason ?? ''}`
  const next: MembershipState = {
    ...state,
    phase: 'gathering',
    members: state.members.each(member => ({ ...member, rank: undefined, ready: undefined })),
    regroup: undefined,
    reshare: undefined,
    saving: [],
    gathering: {
      isFirst: false,
      suspects: [],
      expected: [],
      untilMs: nowMs,
      stateUntilMs: nowMs + state.config.deadlines.regatherMs,
    },
    deadlineMs: nowMs,
  }
  return tryForm(next, before, nowMs, why)
}

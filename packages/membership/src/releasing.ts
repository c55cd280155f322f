import type { Effect } from './effects.ts'
import { memberEvent } from './ending.ts'
import type { MembershipState } from './state.ts'

/** Those who want to go are told that their part is done. */
export function releaseLeavers(state: MembershipState): {
  readonly state: MembershipState
  readonly effects: Effect[]
} {
  const leavers = state.members.filter(member => member.leaving !== undefined)
  const members = leavers.reduce((rest, { workerId }) => rest.without(workerId), state.members)
  return {
    state: { ...state, members },
    effects: leavers.flatMap((member): Effect[] => [
      { type: 'emit', event: memberEvent(member, 'left', member.leaving ?? '') },
      { type: 'send', link: member.link, message: { type: 'finish' } },
    ]),
  }
}

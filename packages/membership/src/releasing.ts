import type { Effect } from './effects.ts'
import { memberEvent } from './ending.ts'
import { withoutMember } from './members.ts'
import type { Member, MembershipState } from './state.ts'

/** These want to go, and are told that their part is done. */
export function release(
  state: MembershipState,
  leavers: readonly Member[],
): { readonly state: MembershipState; readonly effects: Effect[] } {
  return {
    state: leavers.reduce((rest, { workerId }) => withoutMember(rest, workerId), state),
    effects: leavers.flatMap((member): Effect[] => [
      { type: 'emit', event: memberEvent(member, 'left', member.leaving ?? '') },
      { type: 'send', link: member.link, message: { type: 'finish' } },
    ]),
  }
}

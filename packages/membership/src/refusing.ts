import { type ErrorCode, type ErrorFacts, type ErrorRecord, SkeinError } from '@skein/core'
import type { Decision } from './effects.ts'
import { MembershipErrors } from './errors.ts'
import { nameOf } from './members.ts'
import type { LinkId, Member, MembershipState } from './state.ts'

/** An error as it travels. */
export const errorRecord = (row: ErrorCode, facts: ErrorFacts): ErrorRecord => new SkeinError(row, facts).toJSON()

/** Tells a link why it cannot be in this run, and ends it. Nothing else changes. */
export function turnAway(state: MembershipState, link: LinkId, error: ErrorRecord): Decision {
  return {
    state,
    effects: [
      { type: 'send', link, message: { type: 'refuse', error } },
      { type: 'close', link, reason: error.what },
    ],
    reason: `refused: ${error.what}`,
  }
}

/** Tells a member that its message was not accepted. The run's state stays as it is; the member is expected to give up. */
export function refuseMessage(state: MembershipState, member: Member, what: string, why: string): Decision {
  const error = errorRecord(MembershipErrors.OUT_OF_TURN, {
    what: `${nameOf(member)} sent ${what}`,
    why,
    todo: "this is a defect of the worker, or a message of an older generation: read that worker's log",
    details: { workerId: member.workerId, generation: state.generation, step: state.committed.step },
  })
  if (member.link === undefined) return { state, effects: [], reason: `refused: ${error.what}` }
  return {
    state,
    effects: [{ type: 'send', link: member.link, message: { type: 'refuse', error } }],
    reason: `refused: ${error.what} (${why})`,
  }
}

/** For links that are not (or no longer) a member's. */
export function refuseStranger(state: MembershipState, link: LinkId, what: string): Decision {
  return turnAway(
    state,
    link,
    errorRecord(MembershipErrors.NOT_A_MEMBER, {
      what: `${what} came over a link that is no member's`,
      why: 'it did not join first, or a newer process has taken its place',
      todo: 'start the worker again',
    }),
  )
}

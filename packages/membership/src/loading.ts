import type { Ms } from '@skein/core'
import { awaitingState, withoutWaiting } from './awaiting.ts'
import { type Decision, keep } from './effects.ts'
import { tryForm } from './forming.ts'
import { disagreementWithRun } from './load-agreement.ts'
import { memberOfLink, nameOf, withMember, withoutMember } from './members.ts'
import { catchUp } from './newcomers.ts'
import { refuseStranger, turnAway } from './refusing.ts'
import { leastWorkers } from './seating.ts'
import type { LinkId, LoadReport, MembershipState } from './state.ts'

/** A worker has opened model and data: it may be in the next generation. */
export function onLoaded(state: MembershipState, link: LinkId, report: LoadReport, nowMs: Ms): Decision {
  const member = memberOfLink(state, link)
  if (member === undefined) return refuseStranger(state, link, 'a report of what it has loaded')
  if (state.phase === 'ended') return keep(state, `${nameOf(member)} has loaded after the end of the run`)
  if (member.loaded !== undefined) return keep(state, `${nameOf(member)} has loaded twice`)
  const next = withMember(state, member.workerId, { loaded: report })
  const mine = { ...member, loaded: report }
  const wrong = state.loaded && disagreementWithRun(mine, state.loaded)
  if (wrong !== undefined) return turnAway(withoutMember(state, member.workerId), link, wrong)
  const why = `${nameOf(member)} has model and data`
  if (state.phase === 'gathering' || state.phase === 'paused') {
    // Until now it could not have gone on anyway: whoever holds the state is as far from here as this one was.
    const couldGoOn = state.members.tally.loaded >= leastWorkers(state.config)
    const waiting = couldGoOn ? next : awaitingState(next, nowMs)
    return tryForm(withoutWaiting(waiting, member.workerId), [], nowMs, why)
  }
  return catchUp(next, mine, why)
}

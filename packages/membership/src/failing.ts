import type { ErrorRecord, Ms } from '@skein/core'
import { type Decision, type Effect, keep } from './effects.ts'
import { MembershipErrors } from './errors.ts'
import { linksOf, memberOfLink, nameOf, withMember } from './members.ts'
import { errorRecord, refuseStranger } from './refusing.ts'
import type { MemberChange, RunEvent } from './run-events.ts'
import type { Abort, LinkId, Member, MembershipState } from './state.ts'

/** Who ended the run, and how. */
interface Culprit {
  readonly member: Member
  readonly change: MemberChange
  readonly reason: string
}

/** Ends the run with `error`: to the log, to the watchers, and to every worker that is still there and has not been told yet. */
export function endFailed(
  state: MembershipState,
  error: ErrorRecord,
  culprit?: Culprit,
  toOthers: ErrorRecord = error,
): Decision {
  const told = state.abort?.told ?? []
  const links = linksOf(state.members).filter(link => !told.includes(link))
  const effects: Effect[] = [{ type: 'append', record: { type: 'ended', status: 'failed', reason: error.what } }]
  if (culprit !== undefined) {
    effects.push({ type: 'emit', event: memberEvent(culprit.member, culprit.change, culprit.reason) })
  }
  effects.push({
    type: 'emit',
    event: {
      event: 'error',
      code: error.code,
      message: error.why === undefined ? error.what : `${error.what} (${error.why})`,
      what: error.what,
      ...(error.why === undefined ? {} : { why: error.why }),
      todo: error.todo,
      details: error.details,
      steps: state.committed.step,
      checkpoint: state.checkpoint?.path ?? null,
      ...(culprit === undefined ? {} : { workerId: culprit.member.workerId }),
    },
  })
  if (links.length > 0) {
    effects.push({
      type: 'broadcast',
      links,
      message: { type: 'abort', generation: state.generation, error: toOthers },
    })
  }
  return {
    state: { ...state, phase: 'ended', outcome: { status: 'failed', reason: error.what, error } },
    effects,
    reason: `run failed: ${error.what}`,
  }
}

export function memberEvent(member: Member, change: MemberChange, reason: string): RunEvent {
  return {
    event: 'member',
    workerId: member.workerId,
    change,
    reason,
    ...(member.rank === undefined ? {} : { rank: member.rank }),
    ...(change === 'joined' ? { device: member.device } : {}),
  }
}

/** A control link is gone: reset, closed, or silent for too long. */
export function onLinkLost(state: MembershipState, link: LinkId, reason: string): Decision {
  const member = memberOfLink(state, link)
  if (member === undefined) return keep(state, `a link that is no member's was lost: ${reason}`)
  return goneMember(state, member, 'lost', reason)
}

/** A worker says that it goes. In a fixed membership that is a loss, unless it has finished. */
export function onLeft(state: MembershipState, link: LinkId, reason: string): Decision {
  const member = memberOfLink(state, link)
  if (member === undefined) return keep(state, 'a link that is no member said good-bye')
  return goneMember(state, member, 'left', reason)
}

function goneMember(state: MembershipState, member: Member, change: 'lost' | 'left', reason: string): Decision {
  const without = withMember(state, member.workerId, { link: undefined })
  const how =
    change === 'lost' ? `the link of ${nameOf(member)} was lost: ${reason}` : `${nameOf(member)} left: ${reason}`
  switch (state.phase) {
    case 'gathering':
      return {
        state: { ...state, members: state.members.filter(other => other.workerId !== member.workerId) },
        effects: [{ type: 'emit', event: memberEvent(member, change, reason) }],
        reason: `${how}; its place is free again`,
      }
    case 'ended':
      return keep(without, `${how}, after the end of the run`)
    case 'finishing':
      if (member.finished !== undefined) return keep(without, `${how}, after it had finished`)
      return lose(without, member, change, reason)
    case 'aborting': {
      const culprit = culpritOf(state)
      if (culprit?.workerId === member.workerId) return lose(without, member, change, reason)
      if (linksOf(without.members).length === 0) return endAbort(without)
      return keep(without, `${how}, while the run is being aborted`)
    }
    default:
      return lose(without, member, change, reason)
  }
}

function lose(state: MembershipState, member: Member, change: 'lost' | 'left', reason: string): Decision {
  return endFailed(state, workerLost(state, member, reason), { member, change, reason })
}

function workerLost(state: MembershipState, member: Member, reason: string): ErrorRecord {
  return errorRecord(MembershipErrors.WORKER_LOST, {
    what: `${nameOf(member)}, pid ${member.pid}, was lost after committed step ${state.committed.step}`,
    why: reason,
    todo: `read the log of worker ${member.workerId}; start the run again with --resume to go on from its last checkpoint`,
    details: { workerId: member.workerId, rank: member.rank, pid: member.pid, step: state.committed.step },
  })
}

/**
 * A worker reports an error. Its own error ends the run under that error's code, which says most; a report about a peer aborts
 * everyone at once, then waits a moment for the peer's own word or for the end of its link, so that the run names the cause
 * and not its first echo.
 */
export function onFailed(
  state: MembershipState,
  link: LinkId,
  error: ErrorRecord,
  peerRank: number | undefined,
  nowMs: Ms,
): Decision {
  const member = memberOfLink(state, link)
  if (member === undefined) return refuseStranger(state, link, 'a failure report')
  if (state.phase === 'ended') return keep(state, `${nameOf(member)} reported ${error.code} after the end of the run`)
  const peer = state.members.find(other => other.rank !== undefined && other.rank === peerRank)
  if (peer !== undefined && peer.workerId !== member.workerId) return blame(state, member, peer, error, nowMs)
  if (state.phase === 'aborting' && culpritOf(state)?.workerId !== member.workerId) {
    return keep(state, `${nameOf(member)} reported ${error.code} while the run is being aborted`)
  }
  const root: ErrorRecord = {
    ...error,
    what: `${nameOf(member)}: ${error.what}`,
    details: { ...error.details, workerId: member.workerId, step: state.committed.step },
  }
  const change: Culprit = { member, change: 'failed', reason: `${error.code}: ${error.what}` }
  return endFailed(state, root, change, workerLost(state, member, `it reported ${error.code}: ${error.what}`))
}

function blame(state: MembershipState, reporter: Member, peer: Member, error: ErrorRecord, nowMs: Ms): Decision {
  const reason = `${nameOf(reporter)} reported ${error.code} about ${nameOf(peer)}`
  const said = { workerId: peer.workerId, what: `${nameOf(reporter)} lost its connection to it: ${error.what}` }
  if (state.abort !== undefined) {
    const blames = { ...state.abort.blames, [reporter.workerId]: said }
    const next: MembershipState = { ...state, abort: { ...state.abort, blames } }
    // The link of the one who is to blame now may be gone already.
    if (culpritOf(next)?.link === undefined) return endAbort(next)
    return keep(next, `${reason}, while the run is being aborted`)
  }
  const told = linksOf(state.members).filter(link => link !== peer.link)
  const lost = workerLost(state, peer, said.what)
  const abort: Abort = { error: lost, blames: { [reporter.workerId]: said }, firstReporter: reporter.workerId, told }
  return {
    state: { ...state, phase: 'aborting', abort, deadlineMs: nowMs + state.config.deadlines.blameMs },
    effects: [
      {
        type: 'broadcast',
        links: told,
        message: { type: 'abort', generation: state.generation, error: lost },
      },
    ],
    reason: `${reason}; waiting for its own word`,
  }
}

/** Follows the reports from the first reporter to a worker that blames nobody; in a circle, the first one blamed. */
function accusationOf(abort: Abort): { readonly workerId: string; readonly what: string } | undefined {
  const first = abort.blames[abort.firstReporter]
  const seen = new Set<string>([abort.firstReporter])
  let last = first
  while (last !== undefined) {
    seen.add(last.workerId)
    const next = abort.blames[last.workerId]
    if (next === undefined) return last
    if (seen.has(next.workerId)) return first
    last = next
  }
  return first
}

function culpritOf(state: MembershipState): Member | undefined {
  const accused = state.abort === undefined ? undefined : accusationOf(state.abort)
  return state.members.find(member => member.workerId === accused?.workerId)
}

/** The blamed worker has said nothing in time: the run ends with what its peer reported. */
export function endAbort(state: MembershipState): Decision {
  const abort = state.abort as Abort
  const accused = accusationOf(abort)
  const member = culpritOf(state)
  if (accused === undefined || member === undefined) return endFailed(state, abort.error)
  return endFailed(state, workerLost(state, member, accused.what), { member, change: 'lost', reason: accused.what })
}

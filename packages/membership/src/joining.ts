import type { ErrorRecord, Ms } from '@skein/core'
import { speedsOfShares } from './dividing.ts'
import { type Decision, type Effect, keep } from './effects.ts'
import { memberEvent } from './ending.ts'
import { MembershipErrors } from './errors.ts'
import type { JoinedEvent, RecoveredEvent } from './events.ts'
import { removeMember } from './leaving.ts'
import { mostWorkers } from './seating.ts'
import { counted, memberOfLink, nameOf } from './members.ts'
import type { CoordinatorMessage } from './messages.ts'
import { errorRecord, turnAway } from './refusing.ts'
import type { Member, MembershipState } from './state.ts'
import { admissibleFrom } from './strikes.ts'

/** Version of the control protocol that this machine speaks. */
export const protocolVersion = 7

/** Members and spares together. */
export const maxJoined = 16_384

/** The run goes on from a logged or checkpointed state; only before anyone has joined. */
export function onRecovered(state: MembershipState, event: RecoveredEvent, nowMs: Ms): Decision {
  if (state.phase !== 'gathering' || state.members.length > 0) {
    return keep(state, 'a recovery after the first join changes nothing')
  }
  const expected = event.members.map(member => member.workerId)
  const { gatherMs, regatherMs } = state.config.deadlines
  const untilMs = nowMs + (expected.length > 0 ? regatherMs : gatherMs)
  // Of a model that was cut otherwise they say nothing.
  const vouched = event.digests?.length === state.config.parts ? event.digests : undefined
  return {
    state: {
      ...state,
      generation: event.generation,
      committed: { step: event.step, digests: vouched, samplesTo: event.samplesTo },
      startStep: event.step,
      sharesSince: event.step,
      speeds: state.config.shares === 'equal' ? {} : speedsOfShares(event.members),
      untrainedLoss: event.untrainedLoss,
      checkpoint: event.checkpoint,
      gathering: { isFirst: expected.length === 0, suspects: [], expected, untilMs, stateUntilMs: untilMs },
      deadlineMs: untilMs,
    },
    effects: [],
    reason: `going on from step ${event.step}`,
  }
}

/** A worker asks to be a member. */
export function onJoined(state: MembershipState, event: JoinedEvent, nowMs: Ms): Decision {
  const { link, workerId, incarnation } = event
  const refuse = (error: ErrorRecord) => turnAway(state, link, error)
  if (event.protocol !== protocolVersion) {
    return refuse(
      errorRecord(MembershipErrors.PROTOCOL_VERSION, {
        what: `worker ${workerId} speaks protocol ${event.protocol}, this coordinator speaks ${protocolVersion}`,
        why: 'the two run different versions of Skein',
        todo: 'install the same version on both',
      }),
    )
  }
  if (state.phase === 'ended' && state.outcome?.status !== 'failed' && event.holds.length > 0) {
    // It had a part in the run, and did not hear the end of it.
    return {
      state,
      effects: [
        { type: 'send', link, message: { type: 'finish' } },
        { type: 'close', link, reason: 'the run is over' },
      ],
      reason: `worker ${workerId} came back after the end of the run`,
    }
  }
  if (state.phase === 'ended') {
    return refuse(
      errorRecord(MembershipErrors.RUN_ENDED, {
        what: `worker ${workerId} asked to join run ${state.config.runId}, which is over`,
        ...(state.outcome === undefined ? {} : { why: state.outcome.reason }),
        todo: 'start the run again, then the worker',
      }),
    )
  }
  const fence = state.fenced.find(one => one.incarnation === incarnation)
  if (fence !== undefined) return refuse(fence.isReplaced ? replacedError(workerId) : fencedError(workerId))
  const same = state.members.byId(workerId)
  if (same !== undefined && same.link === link) {
    if (same.incarnation === incarnation) return keep(state, `${nameOf(same)} asked to join twice over one link`)
    return refuse(duplicateError(workerId))
  }
  if (memberOfLink(state, link) !== undefined) return refuse(duplicateError(workerId))
  if (same === undefined && state.members.length >= maxJoined) {
    return refuse(
      errorRecord(MembershipErrors.RUN_FULL, {
        what: `worker ${workerId} asked to join, but ${state.members.length} workers are here already`,
        why: 'far more workers were started than the run can take',
        todo: `start at most ${maxJoined}`,
      }),
    )
  }
  return same === undefined ? admit(state, event, [], nowMs) : replace(state, event, same, nowMs)
}

/** The worker has another link: its old one is dead and the coordinator has not noticed, or its process is a newer one. */
function replace(state: MembershipState, event: JoinedEvent, old: Member, nowMs: Ms): Decision {
  const isReconnecting = old.incarnation === event.incarnation
  const reason = isReconnecting ? 'it came back over another link' : 'a newer process with its workerId has joined'
  const removed = removeMember(state, old, isReconnecting ? 'reconnected' : 'fenced', reason, nowMs, {
    isFenced: !isReconnecting,
    withholdForm: true,
  })
  const effects: Effect[] = [
    ...removed.effects,
    ...(isReconnecting
      ? []
      : [{ type: 'send', link: old.link, message: { type: 'refuse', error: replacedError(old.workerId) } } as const]),
    { type: 'close', link: old.link, reason },
  ]
  return admit(removed.state, event, effects, nowMs)
}

function admit(state: MembershipState, event: JoinedEvent, before: readonly Effect[], nowMs: Ms): Decision {
  const { workerId, incarnation, link, lane, pid, device, holds, keeps } = event
  const notBeforeMs = admissibleFrom(state, workerId, nowMs)
  const member: Member = {
    workerId,
    incarnation,
    link,
    lane,
    pid,
    device,
    loaded: undefined,
    holds,
    keeps,
    part: undefined,
    follows: undefined,
    caughtUp: false,
    rank: undefined,
    share: 0,
    ready: undefined,
    vote: undefined,
    finished: undefined,
    leaving: undefined,
    notBeforeMs,
  }
  const { numWorkers } = state.config
  const maxWorkers = mostWorkers(state.config)
  const members = state.members.with(member)
  const pauseMs = Math.round(notBeforeMs - nowMs)
  const reason = [
    state.startedMs === undefined
      ? `${members.length} of ${numWorkers} workers here`
      : `${counted(members.length)} here`,
    ...(members.length > maxWorkers ? [`at most ${maxWorkers} take part, it stands by`] : []),
    ...(pauseMs > 0 ? [`it has failed often and is taken in after ${pauseMs} ms`] : []),
  ].join('; ')
  const effects: Effect[] = [
    ...before,
    { type: 'emit', event: memberEvent(member, 'joined', reason) },
    { type: 'send', link, message: welcome(state) },
  ]
  return {
    state: { ...state, members },
    effects,
    reason: `worker ${workerId} joined: ${reason}`,
  }
}

function welcome(state: MembershipState): CoordinatorMessage {
  const { runId, runDir, job, jobFile, maxWorkers } = state.config
  return { type: 'welcome', runId, runDir, job, maxWorkers, ...(jobFile === undefined ? {} : { jobFile }) }
}

const replacedError = (workerId: string): ErrorRecord =>
  errorRecord(MembershipErrors.REPLACED, {
    what: `this process of worker ${workerId} was replaced`,
    why: 'another process joined under the same workerId',
    todo: 'give each worker its own name; a single one joins anew by itself',
    details: { workerId },
  })

const fencedError = (workerId: string): ErrorRecord =>
  errorRecord(MembershipErrors.FENCED, {
    what: `this process of worker ${workerId} was given up`,
    why: 'nothing was heard of it for too long, or what it said did not agree with the others',
    todo: 'nothing, it joins anew by itself',
    details: { workerId },
  })

const duplicateError = (workerId: string): ErrorRecord =>
  errorRecord(MembershipErrors.DUPLICATE_JOIN, {
    what: `worker ${workerId} asked to join over a link that already is a worker's`,
    todo: 'use one control link for each worker',
    details: { workerId },
  })

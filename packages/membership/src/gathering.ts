import type { ErrorRecord, Ms } from '@skein/core'
import { type Decision, type Effect, keep } from './effects.ts'
import { MembershipErrors } from './errors.ts'
import type { JoinedEvent, RecoveredEvent } from './events.ts'
import { endFailed, memberEvent } from './failing.ts'
import { compareWorkerIds, linksOf, listNames, nameOf } from './members.ts'
import type { CoordinatorMessage } from './messages.ts'
import { errorRecord, turnAway } from './refusing.ts'
import type { Member, MembershipState } from './state.ts'

/** Version of the control protocol that this machine speaks. */
export const protocolVersion = 1

/** The run goes on from a logged or checkpointed state; only before anyone has joined. */
export function onRecovered(state: MembershipState, event: RecoveredEvent): Decision {
  if (state.phase !== 'gathering' || state.members.length > 0) {
    return keep(state, 'a recovery after the first join changes nothing')
  }
  return {
    state: {
      ...state,
      generation: event.generation,
      committed: { step: event.step, digest: event.digest, samplesTo: event.samplesTo },
      startStep: event.step,
      resume: event.resume,
      untrainedLoss: event.untrainedLoss,
      checkpoint: event.resume === undefined ? undefined : { step: event.step, path: event.resume },
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
  if (state.phase === 'ended' || state.phase === 'aborting') {
    return refuse(
      errorRecord(MembershipErrors.RUN_ENDED, {
        what: `worker ${workerId} asked to join run ${state.config.runId}, which is over`,
        ...(state.outcome === undefined ? {} : { why: state.outcome.reason }),
        todo: 'start the run again, then the worker',
      }),
    )
  }
  if (state.fenced.includes(incarnation)) return refuse(fencedError(workerId))
  const same = state.members.find(member => member.workerId === workerId)
  if (same !== undefined && same.link === link) {
    if (same.incarnation === incarnation) return keep(state, `${nameOf(same)} asked to join twice over one link`)
    return refuse(duplicateError(same))
  }
  if (state.members.some(member => member.link === link)) {
    return refuse(
      errorRecord(MembershipErrors.DUPLICATE_JOIN, {
        what: `worker ${workerId} asked to join over a link that already is another worker's`,
        todo: 'use one control link for each worker',
      }),
    )
  }
  if (state.phase === 'gathering') return admit(state, event, same, nowMs)
  if (same === undefined) {
    const { numWorkers } = state.config
    return refuse(
      errorRecord(MembershipErrors.RUN_FULL, {
        what: `worker ${workerId} asked to join, but the run has all of its ${numWorkers} workers: ${listNames(state.members.map(m => m.workerId))}`,
        why: 'the membership of this run is fixed, or two workers were started by mistake',
        todo: 'start no more workers than the run asks for',
        details: { numWorkers },
      }),
    )
  }
  if (same.incarnation === incarnation) return refuse(duplicateError(same))
  return replaceRunning(state, event, same)
}

function admit(state: MembershipState, event: JoinedEvent, same: Member | undefined, nowMs: Ms): Decision {
  const member: Member = {
    workerId: event.workerId,
    incarnation: event.incarnation,
    link: event.link,
    lane: event.lane,
    pid: event.pid,
    device: event.device,
    rank: undefined,
    ready: undefined,
    vote: undefined,
    finished: undefined,
  }
  const reconnects = same?.incarnation === event.incarnation
  const members = [...state.members.filter(other => other !== same), member]
  const effects: Effect[] = []
  if (same !== undefined && !reconnects) {
    effects.push({ type: 'emit', event: memberEvent(same, 'fenced', 'a newer process with its workerId has joined') })
  }
  const { numWorkers } = state.config
  const count = `${members.length} of ${numWorkers} workers are here`
  if (!reconnects) effects.push({ type: 'emit', event: memberEvent(member, 'joined', count) })
  if (same?.link !== undefined) {
    effects.push(
      { type: 'send', link: same.link, message: { type: 'refuse', error: fencedError(same.workerId) } },
      { type: 'close', link: same.link, reason: 'a newer link of the same worker took its place' },
    )
  }
  effects.push({ type: 'send', link: event.link, message: welcome(state) })
  const fenced = same === undefined || reconnects ? state.fenced : [...state.fenced, same.incarnation]
  const joined: MembershipState = { ...state, members, fenced }
  if (members.length < numWorkers) return { state: joined, effects, reason: count }
  return formGeneration(joined, effects, nowMs)
}

/** All are here: ranks are given out and everyone is told whom to connect to. */
function formGeneration(state: MembershipState, before: readonly Effect[], nowMs: Ms): Decision {
  const generation = state.generation + 1
  const members = [...state.members]
    .sort((a, b) => compareWorkerIds(a.workerId, b.workerId))
    .map((member, rank) => ({ ...member, rank }))
  const { startStep } = state
  const isDurable = (effect: Effect) => effect.type === 'append' || effect.type === 'emit'
  const effects: Effect[] = [
    ...before.filter(isDurable),
    {
      type: 'append',
      record: {
        type: 'generation',
        generation,
        startStep,
        members: members.map(({ workerId, incarnation, rank, lane, device }) => ({
          workerId,
          incarnation,
          rank,
          lane,
          device,
        })),
      },
    },
    {
      type: 'emit',
      event: {
        event: 'generation',
        generation,
        members: members.map(({ workerId, rank }) => ({ workerId, rank })),
        startStep,
      },
    },
    ...before.filter(effect => !isDurable(effect)),
    {
      type: 'broadcast',
      links: linksOf(members),
      message: {
        type: 'generation',
        generation,
        members: members.map(({ workerId, rank, lane }) => ({ workerId, rank, lane })),
        laneToken: `${state.config.laneSecret}.${generation}`,
        startStep,
      },
    },
  ]
  return {
    state: { ...state, phase: 'preparing', generation, members, deadlineMs: nowMs + state.config.deadlines.prepareMs },
    effects,
    reason: `${members.length} of ${members.length} workers are here: generation ${generation}`,
  }
}

/** A member's process was started again while the run needs the old one's state. */
function replaceRunning(state: MembershipState, event: JoinedEvent, old: Member): Decision {
  const reason = 'its process was replaced by a newer one'
  const lost = errorRecord(MembershipErrors.WORKER_LOST, {
    what: `${nameOf(old)} was started again in the middle of the run (pid ${old.pid}, now ${event.pid})`,
    why: 'it died, or two workers were given the same name',
    todo: 'give each worker its own name; start the run again with --resume',
    details: { workerId: old.workerId, rank: old.rank, step: state.committed.step },
  })
  const rest: MembershipState = {
    ...state,
    fenced: [...state.fenced, old.incarnation],
    members: state.members.map(member => (member === old ? { ...member, link: undefined } : member)),
  }
  const ended = endFailed(rest, lost, { member: old, change: 'fenced', reason })
  const effects: Effect[] = [...ended.effects]
  if (old.link !== undefined) {
    effects.push(
      { type: 'send', link: old.link, message: { type: 'refuse', error: fencedError(old.workerId) } },
      { type: 'close', link: old.link, reason },
    )
  }
  effects.push(
    { type: 'send', link: event.link, message: { type: 'refuse', error: lost } },
    { type: 'close', link: event.link, reason: lost.what },
  )
  return { ...ended, effects }
}

/** Not all came in time. */
export function gatherTimeout(state: MembershipState): Decision {
  const { numWorkers, deadlines } = state.config
  const here = state.members.map(member => member.workerId)
  return endFailed(
    state,
    errorRecord(MembershipErrors.GATHER_TIMEOUT, {
      what: `${here.length} of ${numWorkers} workers joined within ${deadlines.gatherMs} ms`,
      why: here.length === 0 ? 'no worker reached the coordinator' : `only these are here: ${listNames(here)}`,
      todo: `see the logs of the missing ${numWorkers - here.length}: wrong address or token, a firewall, or a crash at start`,
      details: { numWorkers, joined: here },
    }),
  )
}

function welcome(state: MembershipState): CoordinatorMessage {
  const { runId, runDir, job, jobFile } = state.config
  return {
    type: 'welcome',
    runId,
    runDir,
    job,
    ...(jobFile === undefined ? {} : { jobFile }),
    ...(state.resume === undefined ? {} : { resume: state.resume }),
  }
}

const fencedError = (workerId: string): ErrorRecord =>
  errorRecord(MembershipErrors.FENCED, {
    what: `this process of worker ${workerId} was replaced`,
    why: 'a newer process joined under the same workerId',
    todo: 'end this one, or give each worker its own name',
    details: { workerId },
  })

const duplicateError = (member: Member): ErrorRecord =>
  errorRecord(MembershipErrors.DUPLICATE_JOIN, {
    what: `${nameOf(member)} asked to join again, but this process is a member already`,
    why: 'it opened a second control link, or its incarnation was copied',
    todo: 'use one control link for each worker process',
    details: { workerId: member.workerId },
  })

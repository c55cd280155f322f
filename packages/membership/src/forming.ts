import type { Ms } from '@skein/core'
import { type Decision, durableFirst, type Effect, withEffects } from './effects.ts'
import { MembershipErrors } from './errors.ts'
import { endDone, endFailed } from './ending.ts'
import { loadDisagreement } from './load-agreement.ts'
import { activeMembers, compareWorkerIds, counted, holdsCommitted, linksOf, listNames } from './members.ts'
import type { GenerationMember, StateOrigin } from './messages.ts'
import { errorRecord } from './refusing.ts'
import { equalShares } from './shares.ts'
import type { Member, MembershipState } from './state.ts'

/**
 * Between generations: forms the next one as soon as everyone is here for whom it waits, or the wait is over. Below the minimum the run
 * pauses: its members keep their state, and the next join looks again.
 */
export function tryForm(state: MembershipState, before: readonly Effect[], nowMs: Ms, why: string): Decision {
  const { config, gathering } = state
  const isOver = nowMs >= gathering.untilMs
  const candidates = state.members.filter(member => mayTakePart(member, nowMs))
  const wait = (reason: string): Decision => ({ state, effects: before, reason: `${why}; ${reason}` })
  if (!isOver) {
    const awaited = awaitedBy(state)
    if (awaited !== undefined) return wait(awaited)
  }
  const stopsHere = state.stop !== undefined && state.committed.step >= state.stop.afterStep
  if (stopsHere && candidates.length === 0)
    return withEffects(endDone(state, 'stopped', state.stop.reason, nowMs), before)
  if (candidates.length < config.minWorkers && !stopsHere) {
    if (isFirst(state) && isOver) return withEffects(gatherTimeout(state), before)
    return isFirst(state) ? wait(countHere(state)) : pause(state, candidates, before, why)
  }
  const disagreement = state.loaded === undefined ? loadDisagreement(candidates) : undefined
  if (disagreement !== undefined) return withEffects(endFailed(state, disagreement), before)
  const isLost = originOf(state, candidates) === undefined
  return form(isLost ? rewound(state) : state, candidates, before, nowMs, why, isLost)
}

/** Whom or what the next generation waits for, in words. */
function awaitedBy(state: MembershipState): string | undefined {
  const { config, gathering, members } = state
  if (isFirst(state)) {
    const numLoaded = members.filter(member => member.loaded !== undefined).length
    return numLoaded < config.numWorkers ? countHere(state) : undefined
  }
  const names = members.map(member => member.workerId)
  const suspects = gathering.suspects.filter(name => names.includes(name))
  if (suspects.length > 0) return `waiting for the end of ${listNames(suspects)}, reported lost`
  const missing = gathering.expected.filter(name => !members.some(m => m.workerId === name && m.loaded !== undefined))
  if (missing.length > 0) return `waiting for ${listNames(missing)} to come back`
  const isLost = originOf(state, members) === undefined
  return isLost ? `waiting for a worker that holds step ${state.committed.step}` : undefined
}

/** This coordinator has formed no generation yet, and waits for nobody in particular. */
export const isFirst = (state: MembershipState): boolean =>
  state.lastAdmissionMs === undefined && state.gathering.expected.length === 0

export const countHere = (state: MembershipState): string => {
  const { length } = state.members
  const numLoaded = state.members.filter(member => member.loaded !== undefined).length
  const loading = numLoaded < length ? `, ${length - numLoaded} of them still loading` : ''
  return `${length} of ${state.config.numWorkers} workers here${loading}`
}

/** Whether a member that waits could be in a generation formed now. */
export const mayTakePart = (member: Member, nowMs: Ms): boolean =>
  member.loaded !== undefined && member.leaving === undefined && member.notBeforeMs <= nowMs

/** Where the state after the last commit is to be had; undefined: nowhere any more. */
function originOf(state: MembershipState, candidates: readonly Member[]): StateOrigin['kind'] | undefined {
  if (candidates.some(member => holdsCommitted(state, member))) return 'members'
  if (state.checkpoint?.step === state.committed.step) return 'checkpoint'
  return state.committed.step === 0 ? 'initial' : undefined
}

/** Nobody is left who holds the last commit: the run goes back to its newest checkpoint, or to its beginning. */
function rewound(state: MembershipState): MembershipState {
  const step = state.checkpoint?.step ?? 0
  return { ...state, committed: { step, digest: undefined, samplesTo: step * state.config.globalBatch } }
}

function form(
  state: MembershipState,
  candidates: readonly Member[],
  before: readonly Effect[],
  nowMs: Ms,
  why: string,
  isRewound: boolean,
): Decision {
  const { config, committed } = state
  const generation = state.generation + 1
  const chosen = choose(state, candidates)
  const shares = equalShares(config.globalBatch, chosen.length)
  const rankOf = new Map(chosen.map((member, rank) => [member.workerId, rank]))
  const members = state.members.map((member): Member => {
    const rank = rankOf.get(member.workerId)
    return { ...member, rank, share: shares[rank ?? -1] ?? 0, ready: undefined, vote: undefined, finished: undefined }
  })
  const startStep = committed.step
  const back = isRewound ? `; nobody is left who holds a later state, the run goes back to step ${startStep}` : ''
  const next: MembershipState = {
    ...state,
    phase: 'preparing',
    generation,
    members,
    startStep,
    regroup: undefined,
    pendingEvaluations: [],
    gathering: { suspects: [], expected: [], untilMs: nowMs },
    loaded: state.loaded ?? chosen[0]?.loaded,
    lastAdmissionMs: nowMs,
    deadlineMs: nowMs + config.deadlines.prepareMs,
  }
  const active = activeMembers(next)
  const places = active.map(({ workerId, rank }) => ({ workerId, rank: rank as number }))
  const effects: Effect[] = [
    ...before,
    {
      type: 'append',
      record: {
        type: 'generation',
        generation,
        startStep,
        members: active.map(({ workerId, incarnation, rank, lane, device }) => {
          return { workerId, incarnation, rank: rank as number, lane, device }
        }),
      },
    },
    { type: 'emit', event: { event: 'generation', generation, members: places, startStep, reason: `${why}${back}` } },
    {
      type: 'broadcast',
      links: linksOf(active),
      message: {
        type: 'generation',
        generation,
        members: generationMembers(active),
        laneToken: laneToken(next),
        startStep,
        origin: originFor(state, active),
      },
    },
  ]
  const reason = `${why}: generation ${generation} of ${counted(active.length)}${back}`
  return { state: next, effects: durableFirst(effects), reason }
}

/** At most the maximum: who holds the state first, then by the order of joining; in rank order. */
function choose(state: MembershipState, candidates: readonly Member[]): Member[] {
  const holding = candidates.filter(member => holdsCommitted(state, member))
  const others = candidates.filter(member => !holding.includes(member))
  return [...holding, ...others]
    .slice(0, state.config.maxWorkers)
    .sort((a, b) => compareWorkerIds(a.workerId, b.workerId))
}

function originFor(state: MembershipState, active: readonly Member[]): StateOrigin {
  const ranks = active.flatMap(member => (holdsCommitted(state, member) ? [member.rank as number] : []))
  if (ranks.length > 0) return { kind: 'members', ranks }
  const { checkpoint, committed } = state
  if (checkpoint?.step === committed.step) return { kind: 'checkpoint', path: checkpoint.path }
  return { kind: 'initial' }
}

export const generationMembers = (active: readonly Member[]): GenerationMember[] =>
  active.map(({ workerId, rank, lane, share }) => ({ workerId, rank: rank as number, lane, share }))

export const laneToken = (state: MembershipState): string => `${state.config.laneSecret}.${state.generation}`

function pause(
  state: MembershipState,
  candidates: readonly Member[],
  before: readonly Effect[],
  why: string,
): Decision {
  const { minWorkers } = state.config
  const here =
    candidates.length === 0
      ? 'no worker is'
      : `only ${listNames(candidates.map(m => m.workerId))} of at least ${minWorkers} are`
  const reason = `${why}; ${here} left: the run pauses after step ${state.committed.step}`
  if (state.phase === 'paused') return { state, effects: before, reason }
  const effects: Effect[] = [
    ...before,
    {
      type: 'emit',
      event: { event: 'paused', step: state.committed.step, workers: candidates.length, minWorkers, reason },
    },
  ]
  return {
    state: { ...state, phase: 'paused', deadlineMs: Number.POSITIVE_INFINITY },
    effects: durableFirst(effects),
    reason,
  }
}

/** Not all came in time, and not even the minimum. */
function gatherTimeout(state: MembershipState): Decision {
  const { numWorkers, minWorkers, deadlines } = state.config
  const here = state.members.map(member => member.workerId)
  return endFailed(
    state,
    errorRecord(MembershipErrors.GATHER_TIMEOUT, {
      what: `${here.length} of ${numWorkers} workers joined within ${deadlines.gatherMs} ms; at least ${minWorkers} are needed`,
      why: here.length === 0 ? 'no worker reached the coordinator' : `only these are here: ${listNames(here)}`,
      todo: `see the logs of the missing ${numWorkers - here.length}: wrong address or token, a firewall, or a crash at start`,
      details: { numWorkers, joined: here },
    }),
  )
}

import type { Ms } from '@skein/core'
import { awaitedBy } from './awaiting.ts'
import { candidatesOf, isSaved, originFor, originOf } from './candidates.ts'
import { prepareAfterMs } from './deadlines.ts'
import { sharesFor } from './dividing.ts'
import { type Decision, type Effect, keep, withEffects } from './effects.ts'
import { MembershipErrors } from './errors.ts'
import { endFailed, endOf } from './ending.ts'
import { disagreementWithRun, loadDisagreement } from './load-agreement.ts'
import {
  activeMembers,
  asIn,
  counted,
  heldPart,
  heldParts,
  holdsCommitted,
  linksOf,
  listNames,
  partOfRank,
  withoutMember,
} from './members.ts'
import type { GenerationMember } from './messages.ts'
import { errorRecord, turnAway } from './refusing.ts'
import { release } from './releasing.ts'
import { backToDisk, rewound } from './rewinding.ts'
import { choose, leastWorkers, mostWorkers, replicasOf } from './seating.ts'
import type { LoadReport, Member, MembershipState } from './state.ts'

/** So many are remembered. */
const mostRewinds = 64

/**
 * Between generations: forms the next one as soon as everyone is here for whom it waits, or the wait is over. Below the minimum the run
 * pauses: its members keep their state, and the next join looks again.
 */
export function tryForm(given: MembershipState, before: readonly Effect[], nowMs: Ms, why: string): Decision {
  const { state, effects } = letGo(stoppedHere(given), nowMs)
  return withEffects(tryFormOf(state, nowMs, why), [...before, ...effects])
}

/** Between two generations a run that is to stop makes no step more. */
function stoppedHere(state: MembershipState): MembershipState {
  const { stop, committed } = state
  if (stop === undefined || stop.afterStep <= committed.step) return state
  return { ...state, stop: { ...stop, afterStep: committed.step } }
}

/**
 * Those who want to go are let go. Where nobody else has their part of the last commit they take part once more, until others have it or it is on disk;
 * not where the run pauses anyway.
 */
function letGo(
  state: MembershipState,
  nowMs: Ms,
): { readonly state: MembershipState; readonly effects: readonly Effect[] } {
  if (state.members.tally.leaving === 0) return { state, effects: [] }
  const leavers = state.members.filter(member => member.leaving !== undefined)
  const staying = state.members.filter(member => member.leaving === undefined)
  const canGoOn = candidatesOf(state, nowMs).length >= leastWorkers(state.config)
  if (originOf(state, staying) !== undefined || !canGoOn) return release(state, leavers)
  const kept = new Set(staying.flatMap(member => heldParts(state, member)))
  const isNeeded = (member: Member) => heldParts(state, member).some(part => !kept.has(part))
  return release(
    state,
    leavers.filter(member => !isNeeded(member)),
  )
}

function tryFormOf(state: MembershipState, nowMs: Ms, why: string): Decision {
  const { config, stop } = state
  const awaited = awaitedBy(state, nowMs)
  if (awaited !== undefined) return keep(state, `${why}; ${awaited}`)
  const candidates = candidatesOf(state, nowMs)
  const back = originOf(state, candidates) === undefined ? rewound(state, candidates) : undefined
  const from = back === undefined ? state : stoppedHere(back.state)
  // Nothing is left to be made, or to be taken to disk; or too few are, even where one keeps what several are to hold.
  if (stop !== undefined && candidates.length < config.parts)
    return endOf(isSaved(state) ? state : backToDisk(state), nowMs)
  if (stop !== undefined && back !== undefined && back.to !== 'mirror') return endOf(from, nowMs)
  if (candidates.length === 0 && state.committed.step === config.totalSteps && isSaved(state))
    return endOf(state, nowMs)
  if (candidates.length < leastWorkers(config) && stop === undefined) {
    return state.gathering.isFirst ? gatherTimeout(state) : pause(state, candidates, why)
  }
  const disagreement = state.loaded === undefined ? loadDisagreement(candidates) : undefined
  if (disagreement !== undefined) {
    // After a restart the run knows no more what it is trained on; who holds its last commit does.
    const trained = candidates.find(member => holdsCommitted(state, member))?.loaded
    if (trained === undefined) return endFailed(state, disagreement)
    return withoutOthers(state, trained, nowMs, why)
  }
  // Of several who have the same part and want to go, not all have a place: the others are needed no more.
  const able = asIn(from, candidates)
  const chosen = choose(from, able)
  const names = new Set(chosen.map(({ workerId }) => workerId))
  const spared = from.members.filter(({ leaving, workerId }) => leaving !== undefined && !names.has(workerId))
  const { state: rest, effects } = release(from, spared)
  return withEffects(form(rest, { candidates: able, chosen }, nowMs, why, back?.reason), effects)
}

/** Turns away who has loaded something else than the run is trained on. */
function withoutOthers(state: MembershipState, trained: LoadReport, nowMs: Ms, why: string): Decision {
  let rest: MembershipState = { ...state, loaded: trained }
  const effects: Effect[] = []
  for (const member of state.members) {
    const wrong = disagreementWithRun(member, trained)
    if (wrong === undefined) continue
    const turned = turnAway(withoutMember(rest, member.workerId), member.link, wrong)
    rest = turned.state
    effects.push(...turned.effects)
  }
  return tryForm(rest, effects, nowMs, why)
}

function form(
  state: MembershipState,
  { candidates, chosen }: { readonly candidates: readonly Member[]; readonly chosen: readonly Member[] },
  nowMs: Ms,
  why: string,
  whyBack: string | undefined,
): Decision {
  const { committed, config } = state
  const generation = state.generation + 1
  const shares = sharesFor(state, chosen)
  const rankOf = new Map(chosen.map((member, rank) => [member.workerId, rank]))
  const isHeld = originOf(state, chosen) === 'members'
  const members = state.members.each((member): Member => {
    const rank = rankOf.get(member.workerId)
    const seated = {
      ...member,
      rank,
      share: shares[rank ?? -1] ?? 0,
      ready: undefined,
      vote: undefined,
      finished: undefined,
    }
    if (rank === undefined) return seated
    const part = partOfRank(state, rank)
    // What it gets now is written over what it has, whether the generation comes about or not.
    const isKept = isHeld && heldPart(state, member) === part
    const keeps = member.keeps.filter(kept => kept.part === part)
    return { ...seated, part, holds: isKept ? member.holds : [], keeps }
  })
  const startStep = committed.step
  const back = whyBack === undefined ? '' : `; ${whyBack}`
  const said = `${why}${back}${saidSpares(state, candidates, chosen)}`
  const active = activeMembers({ ...state, members })
  const origin = originFor(state, active)
  const prepared: MembershipState = {
    ...state,
    phase: 'preparing',
    generation,
    members,
    startStep,
    isStateHeld: origin.kind === 'members' && origin.ranks.length === active.length,
    movedMs: nowMs,
    regroup: undefined,
    reshare: undefined,
    sharesSince: startStep,
    pendingEvaluations: [],
    mirroring: undefined,
    gathering: { isFirst: false, suspects: [], expected: [], untilMs: nowMs, stateUntilMs: nowMs },
    loaded: state.loaded ?? chosen[0]?.loaded,
    rewinds: whyBack === undefined ? state.rewinds : [...state.rewinds, { generation, startStep }].slice(-mostRewinds),
    lastAdmissionMs: nowMs,
  }
  const next = { ...prepared, deadlineMs: nowMs + prepareAfterMs(prepared) }
  const places = active.map(({ workerId, rank, part, share }) => ({
    workerId,
    rank: rank as number,
    ...(config.parts === 1 ? {} : { part: part as number }),
    share,
  }))
  const effects: Effect[] = [
    {
      type: 'append',
      record: {
        type: 'generation',
        generation,
        startStep,
        ...(config.parts === 1 ? {} : { parts: config.parts }),
        members: active.map(({ workerId, incarnation, rank, lane, device, share }) => {
          return { workerId, incarnation, rank: rank as number, lane, device, share }
        }),
      },
    },
    {
      type: 'emit',
      event: {
        event: 'generation',
        generation,
        ...(config.parts === 1 ? {} : { parts: config.parts }),
        members: places,
        startStep,
        reason: said,
      },
    },
    {
      type: 'broadcast',
      links: linksOf(active),
      message: {
        type: 'generation',
        generation,
        parts: config.parts,
        members: generationMembers(active),
        laneToken: laneToken(next),
        startStep,
        origin,
        ...(state.mirror === undefined ? {} : { mirrored: state.mirror.step }),
      },
    },
  ]
  const reason = `${why}: generation ${generation} of ${counted(active.length)}${back}${saidSpares(state, candidates, chosen)}`
  return { state: next, effects, reason }
}

/** Who is left over, of a model that is cut, and why; where all places are taken there is nothing to say. */
function saidSpares({ config }: MembershipState, candidates: readonly Member[], chosen: readonly Member[]): string {
  const { parts, replicas } = config
  if (parts === 1 || chosen.length === mostWorkers(config)) return ''
  const seated = new Set(chosen)
  const left = candidates
    .filter(member => !seated.has(member) && member.leaving === undefined)
    .map(({ workerId }) => workerId)
  if (left.length === 0) return ''
  const [made, possible] = [chosen.length / parts, Math.floor(candidates.length / parts)]
  const why =
    made === possible
      ? `as a replica has a worker for each of ${parts} parts`
      : replicasOf(config, possible) === made
        ? `as the batch can be divided among ${replicas?.join(', ')} replicas`
        : 'until they have caught up with the parts that another replica lacks'
  return `; standing by: ${listNames(left)}, ${why}`
}

export const generationMembers = (active: readonly Member[]): GenerationMember[] =>
  active.map(({ workerId, rank, lane, share }) => ({ workerId, rank: rank as number, lane, share }))

export const laneToken = (state: MembershipState): string => `${state.config.laneSecret}.${state.generation}`

function pause(state: MembershipState, candidates: readonly Member[], why: string): Decision {
  const minWorkers = leastWorkers(state.config)
  const here =
    candidates.length === 0
      ? 'no worker is'
      : `only ${listNames(candidates.map(m => m.workerId))} of at least ${minWorkers} are`
  const reason = `${why}; ${here} left: the run pauses after step ${state.committed.step}`
  if (state.phase === 'paused') return keep(state, reason)
  const effects: Effect[] = [
    {
      type: 'emit',
      event: { event: 'paused', step: state.committed.step, workers: candidates.length, minWorkers, reason },
    },
  ]
  return {
    state: { ...state, phase: 'paused', deadlineMs: Number.POSITIVE_INFINITY },
    effects,
    reason,
  }
}

/** Not all came in time, and not even the minimum. */
function gatherTimeout(state: MembershipState): Decision {
  const { numWorkers, deadlines } = state.config
  const minWorkers = leastWorkers(state.config)
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

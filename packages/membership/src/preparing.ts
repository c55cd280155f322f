import { combinedDigest, type ErrorRecord, type Ms } from '@skein/core'
import { prepareAfterMs, stallAfterMs, withPreparation } from './deadlines.ts'
import { type Decision, type Effect, keep, withEffects } from './effects.ts'
import { endFailed, memberEvent } from './ending.ts'
import { MembershipErrors } from './errors.ts'
import { evict } from './evicting.ts'
import {
  activeMembers,
  counted,
  formatGroups,
  isActive,
  linksOf,
  listNames,
  memberOfLink,
  nameOf,
  partOfRank,
  saidPart,
  withMember,
} from './members.ts'
import { withMirrorDue } from './mirroring.ts'
import { catchUps, considerRegroup, lastStepOf } from './newcomers.ts'
import { errorRecord, refuseMessage, refuseStranger } from './refusing.ts'
import type { LinkId, Member, MembershipState } from './state.ts'

/** A member has the state and all its lanes; when all have, and agree, training starts. */
export function onReady(state: MembershipState, link: LinkId, generation: number, digest: string, nowMs: Ms): Decision {
  const member = memberOfLink(state, link)
  if (member === undefined) return refuseStranger(state, link, 'a ready report')
  if (state.phase === 'ended') return keep(state, 'a ready report after the end of the run')
  // Generations end while reports are on their way.
  if (generation < state.generation || (generation === state.generation && !isActive(member))) {
    return keep(state, `${nameOf(member)} was ready for generation ${generation}, which is over`)
  }
  if (generation > state.generation) {
    return refuseMessage(state, member, `ready for generation ${generation}`, `this is generation ${state.generation}`)
  }
  if (member.ready !== undefined) {
    if (member.ready === digest) return keep(state, `${nameOf(member)} was ready already`)
    return refuseMessage(state, member, 'a second, different ready report', 'one generation is prepared once')
  }
  const { startStep } = state
  const next = withMember(state, member.workerId, {
    ready: digest,
    holds: [{ part: partOfRank(state, member.rank), step: startStep, digest }],
  })
  const { ready: numReady, active: numActive } = next.members.tally
  const reason = `${numReady} of ${numActive} workers are ready`
  const effects: Effect[] = [{ type: 'emit', event: memberEvent(member, 'ready', reason) }]
  if (numReady < numActive) return { state: next, effects, reason }
  return withEffects(allReady(next, activeMembers(next), nowMs), effects)
}

function allReady(state: MembershipState, active: readonly Member[], nowMs: Ms): Decision {
  const logged = state.committed.digests
  const { parts } = state.config
  if (logged === undefined) {
    // Ranks are in order: the first ones are those of the first replica.
    const first = active.slice(0, parts).map(member => member.ready ?? '')
    const odd = active.find((member, rank) => member.ready !== first[rank % parts])
    if (odd === undefined) return start(state, active, first, nowMs)
    return endFailed(state, startsDiffer(...readyOf(state, active, odd)))
  }
  const others = active.filter((member, rank) => member.ready !== logged[rank % parts])
  const [odd] = others
  if (odd === undefined) return start(state, active, logged, nowMs)
  const error = notTheLogged(state, ...readyOf(state, active, odd), logged[partOfRank(state, odd.rank)] ?? '')
  const isLost = logged.some((_, part) =>
    active.every((member, rank) => rank % parts !== part || others.includes(member)),
  )
  if (isLost) return endFailed(state, error)
  return evict(state, others, nowMs, { error, reason: `it does not hold step ${state.startStep} as it was committed` })
}

/** Who of the part of `odd` says what, and how that part is named. */
function readyOf(
  state: MembershipState,
  active: readonly Member[],
  odd: Member,
): readonly [ReadonlyMap<string, readonly string[]>, string] {
  const part = partOfRank(state, odd.rank)
  const groups = new Map<string, string[]>()
  for (const { ready = '', rank, workerId } of active) {
    if (partOfRank(state, rank) === part) groups.set(ready, [...(groups.get(ready) ?? []), workerId])
  }
  return [groups, saidPart(state, part)]
}

function start(state: MembershipState, active: readonly Member[], digests: readonly string[], nowMs: Ms): Decision {
  const digest = combinedDigest(digests)
  const { generation, startStep, config } = state
  const hasSteps = startStep < lastStepOf(state)
  const moved: MembershipState = {
    ...withPreparation(state, nowMs),
    phase: hasSteps ? 'training' : 'finishing',
    committed: { ...state.committed, digests },
    startedMs: state.startedMs ?? nowMs,
    lastCommitMs: state.lastCommitMs ?? nowMs,
  }
  const next = { ...moved, deadlineMs: nowMs + (hasSteps ? stallAfterMs(moved) : config.deadlines.finishMs) }
  const links = linksOf(active)
  const effects: Effect[] = [
    {
      type: 'append',
      record: { type: 'started', generation, step: startStep, digest, ...(digests.length === 1 ? {} : { digests }) },
    },
    { type: 'emit', event: { event: 'start', generation, step: startStep, digest } },
  ]
  // Before the start: nobody may begin a step that is not wanted any more.
  if (state.stop !== undefined) {
    effects.push({ type: 'broadcast', links, message: { type: 'stop', generation, ...state.stop } })
  }
  const mirrored = withMirrorDue(next)
  effects.push({ type: 'broadcast', links, message: { type: 'start', generation, step: startStep, ...mirrored.told } })
  const told = hasSteps ? catchUps(mirrored.state, () => true) : { state: mirrored.state, effects: [] }
  effects.push(...told.effects)
  return considerRegroup(told.state, effects, nowMs, `${counted(active.length)} ready with digest ${digest}`)
}

const startsDiffer = (groups: ReadonlyMap<string, readonly string[]>, ofPart: string): ErrorRecord =>
  errorRecord(MembershipErrors.START_MISMATCH, {
    what: `the workers start from different parameters${ofPart}: ${formatGroups(groups)}`,
    why: 'their initialization is not the same, or they loaded different checkpoints',
    todo: 'use a seeded initialization, and the same checkpoint files on every worker',
    details: Object.fromEntries(groups),
  })

const notTheLogged = (
  { startStep, checkpoint }: MembershipState,
  groups: ReadonlyMap<string, readonly string[]>,
  ofPart: string,
  logged: string,
): ErrorRecord =>
  errorRecord(MembershipErrors.START_MISMATCH, {
    what: `the workers hold parameters${ofPart} ${formatGroups(groups)}, but step ${startStep} was committed as ${logged}`,
    why: `the checkpoint ${checkpoint?.path ?? ''} is of another run or was changed, or memory or frames were corrupted`,
    todo: "resume from this run's own checkpoint, or start a new run folder",
    details: { digests: Object.fromEntries(groups), logged, step: startStep },
  })

/** Not all were ready in time: they are left out; if nobody was, all get the longest time there is, and then the run ends. */
export function prepareTimeout(state: MembershipState, nowMs: Ms): Decision {
  const active = activeMembers(state)
  const missing = active.filter(member => member.ready === undefined)
  const { prepareMs } = state.config.deadlines
  const waitedMs = nowMs - state.movedMs
  if (missing.length === active.length && waitedMs < prepareMs) {
    const deadlineMs = state.movedMs + prepareMs
    return keep({ ...state, deadlineMs }, `nobody is ready after ${waitedMs} ms`)
  }
  const limitMs = missing.length === active.length ? prepareMs : prepareAfterMs(state)
  const error = errorRecord(MembershipErrors.PREPARE_TIMEOUT, {
    what: `${missing.length} of ${active.length} workers were not ready within ${limitMs} ms: ${listNames(missing.map(nameOf))}`,
    why: 'they cannot reach each other on their lane addresses, or the state takes longer to travel',
    todo: 'see the logs of these workers; where loading is just slow, raise elastic.limits.prepareSeconds of the job',
    details: { generation: state.generation },
  })
  if (missing.length === active.length) return endFailed(state, error)
  return evict(state, missing, nowMs, { error, reason: 'it was not ready in time' })
}

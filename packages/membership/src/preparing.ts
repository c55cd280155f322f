import type { ErrorRecord, Ms } from '@skein/core'
import { type Decision, type Effect, keep } from './effects.ts'
import { MembershipErrors } from './errors.ts'
import { endFailed, memberEvent } from './failing.ts'
import { linksOf, listNames, memberOfLink, nameOf, withMember } from './members.ts'
import { errorRecord, refuseMessage, refuseStranger } from './refusing.ts'
import type { LinkId, Member, MembershipState, ReadyReport } from './state.ts'

/** A member has model, data and lanes; when all have, and agree, training starts. */
export function onReady(
  state: MembershipState,
  link: LinkId,
  generation: number,
  report: ReadyReport,
  nowMs: Ms,
): Decision {
  const member = memberOfLink(state, link)
  if (member === undefined) return refuseStranger(state, link, 'a ready report')
  if (state.phase === 'ended' || state.phase === 'aborting')
    return keep(state, 'a ready report after the end of the run')
  if (generation !== state.generation) {
    return refuseMessage(state, member, `ready for generation ${generation}`, `this is generation ${state.generation}`)
  }
  if (member.ready !== undefined) {
    const { digest, dataFingerprint, numParams } = member.ready
    const repeats =
      digest === report.digest && dataFingerprint === report.dataFingerprint && numParams === report.numParams
    if (repeats) return keep(state, `${nameOf(member)} was ready already`)
    return refuseMessage(state, member, 'a second, different ready report', 'one generation is prepared once')
  }
  if (state.phase !== 'preparing') {
    return refuseMessage(state, member, 'a ready report', `the run is ${state.phase}`)
  }
  const next = withMember(state, member.workerId, { ready: report })
  const numReady = next.members.filter(other => other.ready !== undefined).length
  const reason = `${numReady} of ${next.members.length} workers are ready`
  const effects: Effect[] = [{ type: 'emit', event: memberEvent(member, 'ready', reason) }]
  if (numReady < next.members.length) return { state: next, effects, reason }
  const disagreement = disagreementOf(next)
  if (disagreement !== undefined) {
    const failed = endFailed(next, disagreement)
    return { ...failed, effects: [...effects, ...failed.effects] }
  }
  return start(next, effects, report.digest, nowMs)
}

function start(state: MembershipState, before: readonly Effect[], digest: string, nowMs: Ms): Decision {
  const { generation, startStep, config } = state
  const hasSteps = startStep < config.totalSteps
  return {
    state: {
      ...state,
      phase: hasSteps ? 'training' : 'finishing',
      committed: { ...state.committed, digest },
      startedMs: nowMs,
      lastCommitMs: nowMs,
      deadlineMs: nowMs + (hasSteps ? config.deadlines.stallMs : config.deadlines.finishMs),
    },
    effects: [
      ...before,
      { type: 'append', record: { type: 'started', generation, step: startStep, digest } },
      { type: 'emit', event: { event: 'start', generation, step: startStep, digest } },
      { type: 'broadcast', links: linksOf(state.members), message: { type: 'start', generation, step: startStep } },
    ],
    reason: `${state.members.length} of ${state.members.length} workers are ready, all with digest ${digest}`,
  }
}

/** The first thing that members do not agree on; undefined when they do. */
function disagreementOf(state: MembershipState): ErrorRecord | undefined {
  const by = (value: (report: ReadyReport) => string | number) => groupBy(state.members, value)
  const data = by(report => report.dataFingerprint)
  if (data.size > 1) {
    return errorRecord(MembershipErrors.DATA_MISMATCH, {
      what: `the workers found different training data: ${formatGroups(data)}`,
      why: 'their data folders differ, or a file changed while they were starting',
      todo: 'give every worker the same files (compare the folders), or one shared folder',
      details: Object.fromEntries(data),
    })
  }
  const params = by(report => report.numParams)
  if (params.size > 1) {
    return errorRecord(MembershipErrors.MODEL_MISMATCH, {
      what: `the workers built different models: ${formatGroups(params, 'parameters')}`,
      why: 'they run different versions of Skein, or a job file that builds another model on each of them',
      todo: 'install the same version everywhere and make the job file deterministic',
      details: Object.fromEntries(params),
    })
  }
  const digests = by(report => report.digest)
  if (digests.size > 1) {
    return errorRecord(MembershipErrors.START_MISMATCH, {
      what: `the workers start from different parameters: ${formatGroups(digests)}`,
      why: 'their initialization is not the same, or they loaded different checkpoints',
      todo: 'use a seeded initialization, and the same checkpoint files on every worker',
      details: Object.fromEntries(digests),
    })
  }
  const [digest] = digests.keys()
  const logged = state.committed.digest
  if (logged === undefined || digest === logged) return undefined
  return errorRecord(MembershipErrors.START_MISMATCH, {
    what: `the workers hold parameters ${digest}, but step ${state.startStep} was committed as ${logged}`,
    why: `the checkpoint ${state.resume ?? ''} is of another run, or was changed`,
    todo: "resume from this run's own checkpoint, or start a new run folder",
    details: { digest, logged, step: state.startStep },
  })
}

function groupBy(members: readonly Member[], value: (report: ReadyReport) => string | number): Map<string, string[]> {
  const groups = new Map<string, string[]>()
  for (const member of members) {
    if (member.ready === undefined) continue
    const key = String(value(member.ready))
    groups.set(key, [...(groups.get(key) ?? []), member.workerId])
  }
  return groups
}

const formatGroups = (groups: ReadonlyMap<string, readonly string[]>, unit?: string): string =>
  [...groups]
    .map(([value, names]) => `${value}${unit === undefined ? '' : ` ${unit}`} on ${listNames(names)}`)
    .join('; ')

/** Not all were ready in time. */
export function prepareTimeout(state: MembershipState): Decision {
  const missing = state.members.filter(member => member.ready === undefined).map(nameOf)
  return endFailed(
    state,
    errorRecord(MembershipErrors.PREPARE_TIMEOUT, {
      what: `${missing.length} of ${state.members.length} workers were not ready within ${state.config.deadlines.prepareMs} ms: ${listNames(missing)}`,
      why: 'they cannot reach each other on their lane addresses, or model and data take longer to load',
      todo: 'see the logs of these workers; raise the limit when loading is just slow',
      details: { generation: state.generation },
    }),
  )
}

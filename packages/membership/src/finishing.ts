import type { Ms } from '@skein/core'
import { type Decision, type Effect, keep } from './effects.ts'
import { MembershipErrors } from './errors.ts'
import { endFailed, memberEvent } from './failing.ts'
import { linksOf, listNames, memberOfLink, nameOf, withMember } from './members.ts'
import { errorRecord, refuseMessage, refuseStranger } from './refusing.ts'
import type { DoneEvent } from './run-events.ts'
import type { Evaluation, FinishReport, LinkId, Member, MembershipState } from './state.ts'

/**
 * Someone asks for an early end. Workers may compute one step beyond the one they have voted for, and vote one beyond the last
 * commit: so nobody is past `committed + 2`, everybody can still reach it, and it is the step after which all stop.
 */
export function onStopRequested(state: MembershipState, reason: string, nowMs: Ms): Decision {
  switch (state.phase) {
    case 'gathering':
    case 'preparing':
      return done(state, 'stopped', reason, nowMs)
    case 'training': {
      const afterStep = Math.min(state.committed.step + 2, state.config.totalSteps)
      const { generation } = state
      return {
        state: { ...state, phase: 'stopping', stop: { afterStep, reason } },
        effects: [
          { type: 'emit', event: { event: 'stopping', afterStep, reason } },
          {
            type: 'broadcast',
            links: linksOf(state.members),
            message: { type: 'stop', generation, afterStep, reason },
          },
        ],
        reason: `stopping after step ${afterStep}: ${reason}`,
      }
    }
    case 'stopping':
      return keep(state, `already stopping after step ${state.stop?.afterStep}`)
    default:
      return keep(state, `nothing to stop: the run is ${state.phase}`)
  }
}

/** Rank 0 reports a loss on held-out samples. Shown when the step it was measured at is committed. */
export function onEvaluated(
  state: MembershipState,
  link: LinkId,
  generation: number,
  evaluation: Evaluation,
  nowMs: Ms,
): Decision {
  const what = `an evaluation of step ${evaluation.step}`
  const checked = checkRankZero(state, link, generation, evaluation.step, what, 1)
  if ('effects' in checked) return checked
  const known: MembershipState = {
    ...withProgress(state, nowMs),
    ...(evaluation.phase === 'untrained' ? { untrainedLoss: evaluation.loss } : { valLoss: evaluation.loss }),
  }
  if (evaluation.step > state.committed.step) {
    const pendingEvaluations = [...state.pendingEvaluations, evaluation]
    return keep({ ...known, pendingEvaluations }, `${what} waits for the commit`)
  }
  return {
    state: known,
    effects: [{ type: 'emit', event: { event: 'eval', ...evaluation } }],
    reason: `${evaluation.phase} loss ${evaluation.loss} at step ${evaluation.step}`,
  }
}

/** Rank 0 has a committed state on disk. */
export function onCheckpointed(
  state: MembershipState,
  link: LinkId,
  generation: number,
  step: number,
  path: string,
  nowMs: Ms,
): Decision {
  const checked = checkRankZero(state, link, generation, step, `a checkpoint of step ${step}`, 0)
  if ('effects' in checked) return checked
  return {
    state: { ...withProgress(state, nowMs), checkpoint: { step, path } },
    effects: [
      { type: 'append', record: { type: 'checkpoint', generation, step, path } },
      { type: 'emit', event: { event: 'checkpoint', step, path } },
    ],
    reason: `step ${step} is saved at ${path}`,
  }
}

/** The member if it is rank 0 of this generation and may speak of `step`; else the decision that refuses it. */
function checkRankZero(
  state: MembershipState,
  link: LinkId,
  generation: number,
  step: number,
  what: string,
  stepsAhead: number,
): Member | Decision {
  const member = memberOfLink(state, link)
  if (member === undefined) return refuseStranger(state, link, what)
  if (state.phase === 'ended' || state.phase === 'aborting') return keep(state, `${what} after the end of the run`)
  if (generation !== state.generation)
    return refuseMessage(state, member, what, `this is generation ${state.generation}`)
  if (state.startedMs === undefined) return refuseMessage(state, member, what, `the run is ${state.phase}`)
  if (member.rank !== 0) return refuseMessage(state, member, what, 'only rank 0 reports it')
  if (step > state.committed.step + stepsAhead) {
    return refuseMessage(state, member, what, `the last committed step is ${state.committed.step}`)
  }
  return member
}

/** Work that shows: it moves the deadline of the phase. */
function withProgress(state: MembershipState, nowMs: Ms): MembershipState {
  const { stallMs, finishMs } = state.config.deadlines
  return { ...state, deadlineMs: nowMs + (state.phase === 'finishing' ? finishMs : stallMs) }
}

/** A member has nothing more to do. When all have said so, the run is done. */
export function onFinished(
  state: MembershipState,
  link: LinkId,
  generation: number,
  step: number,
  report: FinishReport,
  nowMs: Ms,
): Decision {
  const what = `the end of the run after step ${step}`
  const member = memberOfLink(state, link)
  if (member === undefined) return refuseStranger(state, link, what)
  if (state.phase === 'ended' || state.phase === 'aborting') return keep(state, `${what}, reported after the end`)
  if (generation !== state.generation)
    return refuseMessage(state, member, what, `this is generation ${state.generation}`)
  if (state.phase !== 'finishing' || step !== state.committed.step) {
    return refuseMessage(state, member, what, `the run is ${state.phase} at committed step ${state.committed.step}`)
  }
  if (member.finished !== undefined) return keep(state, `${nameOf(member)} had finished already`)
  const next = {
    ...withMember(withProgress(state, nowMs), member.workerId, { finished: report }),
    peakRssBytes: Math.max(state.peakRssBytes, report.peakRssBytes),
  }
  const numFinished = next.members.filter(other => other.finished !== undefined).length
  const reason = `${numFinished} of ${next.members.length} workers have finished`
  const effects: Effect[] = [{ type: 'emit', event: memberEvent(member, 'finished', reason) }]
  if (numFinished < next.members.length) return { state: next, effects, reason }
  const { stop, config } = next
  const early = stop !== undefined && next.committed.step < config.totalSteps
  const ended = early
    ? done(next, 'stopped', stop.reason, nowMs)
    : done(next, 'finished', `all ${config.totalSteps} steps are made`, nowMs)
  return { ...ended, effects: [...effects, ...ended.effects] }
}

function done(state: MembershipState, status: 'finished' | 'stopped', reason: string, nowMs: Ms): Decision {
  const reports = state.members.flatMap(member => (member.finished === undefined ? [] : [member.finished]))
  const trainingMs = (state.lastCommitMs ?? nowMs) - (state.startedMs ?? nowMs)
  const event: DoneEvent = {
    event: 'done',
    status,
    reason,
    steps: state.committed.step,
    checkpoint: state.checkpoint?.path ?? null,
    valLoss: state.valLoss ?? null,
    untrainedLoss: state.untrainedLoss ?? null,
    baselineLoss: reports.find(report => report.baselineLoss !== undefined)?.baselineLoss ?? null,
    tokensPerSecond: trainingMs > 0 ? (state.tokens / trainingMs) * 1000 : 0,
    wallMs: nowMs - state.createdMs,
    peakRssBytes: state.peakRssBytes,
    sample: reports.find(report => report.sampleText !== undefined)?.sampleText ?? null,
  }
  const links = linksOf(state.members)
  const effects: Effect[] = [
    { type: 'append', record: { type: 'ended', status, reason } },
    { type: 'emit', event },
  ]
  if (links.length > 0) effects.push({ type: 'broadcast', links, message: { type: 'finish' } })
  return {
    state: { ...state, phase: 'ended', outcome: { status, reason } },
    effects,
    reason: `run ${status}: ${reason}`,
  }
}

/** Not all reported the end in time. */
export function finishTimeout(state: MembershipState): Decision {
  const missing = state.members.filter(member => member.finished === undefined).map(nameOf)
  return endFailed(
    state,
    errorRecord(MembershipErrors.FINISH_TIMEOUT, {
      what: `${listNames(missing)} did not report the end of the run within ${state.config.deadlines.finishMs} ms`,
      why: 'the last evaluation, the checkpoint or the text sample hangs, or takes longer than that',
      todo: 'see the logs of these workers; all steps are committed, so the last checkpoint may be complete',
      details: { step: state.committed.step },
    }),
  )
}

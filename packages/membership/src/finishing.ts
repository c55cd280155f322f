import type { Ms } from '@skein/core'
import { isSaved } from './candidates.ts'
import { withProgress } from './deadlines.ts'
import { type Decision, type Effect, keep, withEffects } from './effects.ts'
import { endFailed, endOf, memberEvent } from './ending.ts'
import { MembershipErrors } from './errors.ts'
import { evict } from './evicting.ts'
import { tryForm } from './forming.ts'
import { activeMembers, isActive, linksOf, listNames, memberOfLink, nameOf, withMember } from './members.ts'
import { lastStepOf } from './newcomers.ts'
import { errorRecord, refuseMessage, refuseStranger } from './refusing.ts'
import type { Evaluation, FinishReport, LinkId, Member, MembershipState } from './state.ts'

/**
 * Someone asks for an early end. Workers may compute one step beyond the one they have voted for, and vote one beyond the last
 * commit: so nobody is past `committed + 2`, everybody can still reach it, and it is the step after which all stop. Between two generations
 * the next one makes no step more: it only takes the state to disk.
 */
export function onStopRequested(state: MembershipState, reason: string, nowMs: Ms): Decision {
  if (state.phase === 'ended' || state.phase === 'finishing')
    return keep(state, `nothing to stop: the run is ${state.phase}`)
  if (state.stop !== undefined) return keep(state, `already stopping after step ${state.stop.afterStep}`)
  const { generation, committed, regroup } = state
  // Nothing was made yet that is not on disk.
  const isNew = state.startedMs === undefined && (committed.step === 0 || isSaved(state))
  if (isNew) return endOf({ ...state, stop: { afterStep: committed.step, reason } }, nowMs)
  const isTraining = state.phase === 'training'
  const afterStep = isTraining ? Math.min(committed.step + 2, lastStepOf(state)) : committed.step
  const stopping: Effect = { type: 'emit', event: { event: 'stopping', afterStep, reason } }
  const next: MembershipState = { ...state, stop: { afterStep, reason } }
  const why = `stopping after step ${afterStep}: ${reason}`
  if (state.phase === 'gathering' || state.phase === 'paused') {
    return withEffects(tryForm({ ...next, phase: 'gathering' }, [], nowMs, why), [stopping])
  }
  if (!isTraining) return { state: next, effects: [stopping], reason: why }
  return {
    // An announced regrouping would come no earlier.
    state: { ...next, regroup: regroup === undefined || regroup.afterStep >= afterStep ? undefined : regroup },
    effects: [
      stopping,
      {
        type: 'broadcast',
        links: linksOf(activeMembers(state)),
        message: { type: 'stop', generation, afterStep, reason },
      },
    ],
    reason: why,
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
  const checked = checkRankZero(state, link, generation, evaluation.step, what)
  if ('effects' in checked) return checked
  if (evaluation.phase === 'untrained' && state.untrainedLoss !== undefined) {
    return keep(state, `${what}, which an earlier generation has made`)
  }
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

/** The member if it is rank 0 of this generation and may speak of `step`; else the decision that refuses it. */
function checkRankZero(
  state: MembershipState,
  link: LinkId,
  generation: number,
  step: number,
  what: string,
): Member | Decision {
  const member = memberOfLink(state, link)
  if (member === undefined) return refuseStranger(state, link, what)
  if (state.phase === 'ended') return keep(state, `${what} after the end of the run`)
  if (generation < state.generation || (generation === state.generation && !isActive(member))) {
    return keep(state, `${what} of generation ${generation}, which is over`)
  }
  if (generation > state.generation) return refuseMessage(state, member, what, `this is generation ${state.generation}`)
  if (state.phase === 'preparing') return refuseMessage(state, member, what, `the run is ${state.phase}`)
  if (member.rank !== 0) return refuseMessage(state, member, what, 'only rank 0 reports it')
  if (step > state.committed.step + 1) {
    return refuseMessage(state, member, what, `the last committed step is ${state.committed.step}`)
  }
  return member
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
  if (state.phase === 'ended') return keep(state, `${what}, reported after the end`)
  if (generation < state.generation || (generation === state.generation && !isActive(member))) {
    return keep(state, `${what} of generation ${generation}, which is over`)
  }
  if (generation > state.generation) return refuseMessage(state, member, what, `this is generation ${state.generation}`)
  if (state.phase !== 'finishing' || step !== state.committed.step) {
    return refuseMessage(state, member, what, `the run is ${state.phase} at committed step ${state.committed.step}`)
  }
  if (member.finished !== undefined) return keep(state, `${nameOf(member)} had finished already`)
  const next = {
    ...withMember(withProgress(state, nowMs), member.workerId, { finished: report }),
    peakRssBytes: Math.max(state.peakRssBytes, report.peakRssBytes),
  }
  const { finished: numFinished, active: numActive } = next.members.tally
  const reason = `${numFinished} of ${numActive} workers have finished`
  const effects: Effect[] = [{ type: 'emit', event: memberEvent(member, 'finished', reason) }]
  if (numFinished < numActive) return { state: next, effects, reason }
  return withEffects(endOf(next, nowMs), effects)
}

/** Not all reported the end in time: the others make it without them. */
export function finishTimeout(state: MembershipState, nowMs: Ms): Decision {
  const active = activeMembers(state)
  const missing = active.filter(member => member.finished === undefined)
  const error = errorRecord(MembershipErrors.FINISH_TIMEOUT, {
    what: `${listNames(missing.map(nameOf))} did not report the end of the run within ${state.config.deadlines.finishMs} ms`,
    why: 'the last evaluation, the checkpoint or the text sample hangs, or takes longer than that',
    todo: 'see the logs of these workers, and raise elastic.limits.finishSeconds of the job where saving is just slow; all steps are committed, so the last checkpoint may be complete',
    details: { step: state.committed.step },
  })
  if (missing.length === active.length) return endFailed(state, error)
  return evict(state, missing, nowMs, { error, reason: 'it did not report the end of the run in time' })
}

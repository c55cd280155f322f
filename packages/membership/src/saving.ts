import type { ErrorRecord, Ms } from '@skein/core'
import { withProgress } from './deadlines.ts'
import { type Decision, type Effect, keep, withEffects } from './effects.ts'
import { isGivenUp } from './given-up.ts'
import { memberOfLink, nameOf } from './members.ts'
import { isRegroupDue, nextGeneration } from './regrouping.ts'
import { refuseMessage, refuseStranger } from './refusing.ts'
import type { CheckpointFailedEvent } from './run-events.ts'
import type { LinkId, Member, MembershipState } from './state.ts'

/** Checkpoints under way that are remembered: a worker writes two at the most. */
const mostSaving = 8

/**
 * A member has its part of a committed state on disk, of a model that is cut. When all parts of the first replica are there, or it is known that one
 * will not be, rank 0 is told, who then makes the checkpoint of them. One whose generation ends before that is given up.
 */
export function onCheckpointPart(
  state: MembershipState,
  link: LinkId,
  generation: number,
  step: number,
  nowMs: Ms,
): Decision {
  const what = `its part of a checkpoint of step ${step}`
  const checked = checkSaver(state, link, generation, step, what)
  if ('effects' in checked) return checked
  const { rank } = checked
  if (generation < state.generation || rank === undefined)
    return keep(state, `${what}, which was given up with generation ${generation}`)
  if (rank >= state.config.parts) return refuseMessage(state, checked, what, 'only the first replica saves')
  return withPart(withMoveIfUnderWay(state, nowMs), step, rank, true, `${nameOf(checked)} has ${what} on disk`)
}

/** What is known of the part of a checkpoint; whether all is, and rank 0 can be told. */
function withPart(state: MembershipState, step: number, part: number, isSaved: boolean, why: string): Decision {
  const { saving, config, generation } = state
  const before = saving.find(one => one.step === step) ?? { step, saved: [], failed: [] }
  const others = (parts: readonly number[]) => parts.filter(other => other !== part)
  const saved = isSaved ? [...others(before.saved), part] : others(before.saved)
  const failed = isSaved ? others(before.failed) : [...others(before.failed), part]
  const rest = saving.filter(one => one.step !== step)
  const numKnown = saved.length + failed.length
  if (numKnown < config.parts) {
    const next = { ...state, saving: [...rest, { step, saved, failed }].slice(-mostSaving) }
    return keep(next, `${why}; ${numKnown} of ${config.parts} parts are known`)
  }
  const isWhole = failed.length === 0
  const first = state.members.filter(member => member.rank === 0)
  const effects = first.map(
    (member): Effect => ({
      type: 'send',
      link: member.link,
      message: { type: 'checkpoint-parts', generation, step, isWhole },
    }),
  )
  return {
    state: { ...state, saving: rest },
    effects,
    reason: `${why}; ${isWhole ? 'all parts are there' : 'not all parts are there'}`,
  }
}

/** A member has a committed state on disk. It was written beside the training, so the generation it was begun in may be over. */
export function onCheckpointed(
  state: MembershipState,
  link: LinkId,
  generation: number,
  step: number,
  path: string,
  nowMs: Ms,
): Decision {
  const checked = checkSaver(state, link, generation, step, `a checkpoint of step ${step}`)
  if ('effects' in checked) return checked
  // A worker that comes back says it again: what it said before may not have come here.
  if (state.checkpoint?.step === step && state.checkpoint.path === path)
    return keep(state, `step ${step} is known to be saved at ${path}`)
  const isNewest = step >= (state.checkpoint?.step ?? 0)
  const moved = withMoveIfUnderWay(state, nowMs)
  const next: MembershipState = isNewest ? { ...moved, checkpoint: { step, path }, unsaved: undefined } : moved
  const effects: Effect[] = [
    { type: 'append', record: { type: 'checkpoint', generation, step, path } },
    { type: 'emit', event: { event: 'checkpoint', step, path } },
  ]
  if (isRegroupDue(next)) return nextGeneration(next, effects, nowMs)
  return { state: next, effects, reason: `step ${step} is saved at ${path}` }
}

/**
 * A member could not take a committed state to disk. The run goes on without: who watches is alarmed, and the checkpoint before stays the newest.
 * Who was to leave only after this one leaves all the same; then the run may have to go back to that checkpoint.
 */
export function onCheckpointFailed(
  state: MembershipState,
  link: LinkId,
  generation: number,
  step: number,
  error: ErrorRecord,
  nowMs: Ms,
): Decision {
  const checked = checkSaver(state, link, generation, step, `a checkpoint of step ${step} that failed`)
  if ('effects' in checked) return checked
  const { regroup, checkpoint, committed, config } = state
  const isNewest = step >= (checkpoint?.step ?? 0)
  const isAwaited = regroup !== undefined && regroup.saves && step === committed.step && step >= regroup.afterStep
  const moved = withMoveIfUnderWay(state, nowMs)
  const next: MembershipState = {
    ...moved,
    unsaved: isNewest ? { step, error } : state.unsaved,
    regroup: isAwaited ? { ...regroup, saves: false } : regroup,
  }
  const { code, what, why, todo, details } = error
  const alarm: CheckpointFailedEvent = {
    event: 'checkpoint-failed',
    step,
    workerId: checked.workerId,
    code,
    what,
    ...(why === undefined ? {} : { why }),
    todo,
    details,
    checkpoint: checkpoint?.path ?? null,
  }
  const effects: Effect[] = [{ type: 'emit', event: alarm }]
  if (isRegroupDue(next)) return nextGeneration(next, effects, nowMs)
  const reason = `${nameOf(checked)} could not save step ${step}: ${what}`
  const { rank } = checked
  const isPart = config.parts > 1 && generation === state.generation && rank !== undefined && rank < config.parts
  return isPart ? withEffects(withPart(next, step, rank, false, reason), effects) : { state: next, effects, reason }
}

/** The member if what it says of the saving of `step` can be; else the decision that refuses it. */
function checkSaver(
  state: MembershipState,
  link: LinkId,
  generation: number,
  step: number,
  what: string,
): Member | Decision {
  const member = memberOfLink(state, link)
  if (member === undefined) return refuseStranger(state, link, what)
  if (state.phase === 'ended') return keep(state, `${what} after the end of the run`)
  if (generation > state.generation) return refuseMessage(state, member, what, `this is generation ${state.generation}`)
  if (step <= state.committed.step && !isGivenUp(state.rewinds, { generation, step })) return member
  // The run has gone back to an earlier step since.
  if (generation < state.generation) return keep(state, `${what}, which is not the run's any more`)
  return refuseMessage(state, member, what, `the last committed step is ${state.committed.step}`)
}

/** What is written shows that those who write it live. */
const withMoveIfUnderWay = (state: MembershipState, nowMs: Ms): MembershipState =>
  state.phase === 'training' || state.phase === 'finishing' ? withProgress(state, nowMs) : state

import type { ErrorRecord, Ms } from '@skein/core'
import type { Decision, Effect } from './effects.ts'
import { MembershipErrors } from './errors.ts'
import { linksOf } from './members.ts'
import { errorRecord } from './refusing.ts'
import type { DoneEvent, MemberChange, RunEvent } from './run-events.ts'
import type { Member, MembershipState } from './state.ts'

/** Ends the run with `error`: to the log, to the watchers, and to every worker that is there. */
export function endFailed(state: MembershipState, error: ErrorRecord, workerId?: string): Decision {
  const links = linksOf(state.members)
  const effects: Effect[] = [
    { type: 'append', record: { type: 'ended', status: 'failed', reason: error.what } },
    {
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
        ...(workerId === undefined ? {} : { workerId }),
      },
    },
  ]
  if (links.length > 0) effects.push({ type: 'broadcast', links, message: { type: 'fail', error } })
  return {
    state: { ...state, phase: 'ended', outcome: { status: 'failed', reason: error.what, error } },
    effects,
    reason: `run failed: ${error.what}`,
  }
}

/** Ends the run well. */
export function endDone(state: MembershipState, status: 'finished' | 'stopped', reason: string, nowMs: Ms): Decision {
  const reports = state.members.map(member => member.finished).filter(report => report !== undefined)
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

/** The end of a run whose last step is committed: a good one, unless that step could not be saved. */
export function endOf(state: MembershipState, nowMs: Ms): Decision {
  const { stop, config, committed, unsaved } = state
  if (unsaved?.step === committed.step && state.checkpoint?.step !== committed.step)
    return endFailed(state, notSaved(state, unsaved.error))
  return stop !== undefined && committed.step < config.totalSteps
    ? endDone(state, 'stopped', stop.reason, nowMs)
    : endDone(state, 'finished', `all ${config.totalSteps} steps are made`, nowMs)
}

function notSaved({ committed, checkpoint }: MembershipState, error: ErrorRecord): ErrorRecord {
  const kept = checkpoint === undefined ? 'there is no checkpoint' : `the newest checkpoint is ${checkpoint.path}`
  return errorRecord(MembershipErrors.NOT_SAVED, {
    what: `step ${committed.step}, the last, is made but not saved: ${error.what}; ${kept}`,
    ...(error.why === undefined ? {} : { why: error.why }),
    todo: 'mend that and go on from the checkpoint with --resume: the steps after it are made again, with the same result',
    details: { step: committed.step, checkpoint: checkpoint?.path ?? null, cause: error.code },
  })
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

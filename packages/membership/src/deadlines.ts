import type { Ms } from '@skein/core'
import type { MembershipState } from './state.ts'

/*
 * How long a phase may stand still, by how long it has taken before: a run of 50 ms steps hears of a stall long before one of 20 s steps
 * may. What has never been seen may take as long as the configuration allows at most.
 */

/** What was seen to take how long; outlives generations. */
export interface Observed {
  /** The longest first step of a generation: a member that is new traces its graph then. */
  readonly firstStepMs: Ms | undefined
  /** Between the last other commits and evaluations, the newest last. */
  readonly pausesMs: readonly Ms[]
  /** The longest of the preparations in which nobody had to get the state. */
  readonly prepareMs: Ms | undefined
}

export const nothingObserved: Observed = { firstStepMs: undefined, pausesMs: [], prepareMs: undefined }

/** Pauses that are remembered: those of longer ago say little about the step to come. */
const remembered = 20
/** So many times the longest is unusual. */
const patience = 5

const longer = (known: Ms | undefined, ms: Ms): Ms => Math.max(known ?? 0, ms)

const isFirstStep = ({ committed, startStep }: MembershipState): boolean => committed.step === startStep

/** Training has shown that it moves, by a commit or an evaluation. To be called with the state before it. */
export function withMove(state: MembershipState, nowMs: Ms): MembershipState {
  const { observed } = state
  const pauseMs = nowMs - state.movedMs
  return {
    ...state,
    movedMs: nowMs,
    observed: isFirstStep(state)
      ? { ...observed, firstStepMs: longer(observed.firstStepMs, pauseMs) }
      : { ...observed, pausesMs: [...observed.pausesMs, pauseMs].slice(-remembered) },
  }
}

/** How long training may stand still before whoever stands out is put out. */
export function stallAfterMs(state: MembershipState): Ms {
  const { stallLeastMs, stallMs } = state.config.deadlines
  const { firstStepMs, pausesMs } = state.observed
  if (firstStepMs === undefined) return stallMs
  const usualMs = isFirstStep(state) || pausesMs.length === 0 ? firstStepMs : Math.max(...pausesMs)
  return Math.min(stallMs, Math.max(stallLeastMs, patience * usualMs))
}

/** All are ready. */
export function withPreparation(state: MembershipState, nowMs: Ms): MembershipState {
  const { observed } = state
  const prepareMs = state.isStateHeld ? longer(observed.prepareMs, nowMs - state.movedMs) : observed.prepareMs
  return { ...state, movedMs: nowMs, observed: { ...observed, prepareMs } }
}

/** How long a generation may prepare before whoever is not ready is left out. How long the state travels, nobody knows before. */
export function prepareAfterMs({ config, observed, isStateHeld }: MembershipState): Ms {
  const { prepareLeastMs, prepareMs } = config.deadlines
  if (!isStateHeld || observed.prepareMs === undefined) return prepareMs
  return Math.min(prepareMs, Math.max(prepareLeastMs, patience * observed.prepareMs))
}

/** Work that shows: it moves the deadline of the phase. */
export function withProgress(state: MembershipState, nowMs: Ms): MembershipState {
  if (state.phase === 'finishing') return { ...state, deadlineMs: nowMs + state.config.deadlines.finishMs }
  const moved = withMove(state, nowMs)
  return { ...moved, deadlineMs: nowMs + stallAfterMs(moved) }
}

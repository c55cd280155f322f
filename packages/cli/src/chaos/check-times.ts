import type { Ms } from '@skein/core'
import type { FaultKind } from './faults.ts'

/** A fault as it was done. */
export interface FaultTime {
  readonly kind: FaultKind
  readonly fromMs: Ms
  /** When what it took away was back. */
  readonly untilMs: Ms
}

/** When a step was seen to be committed. */
export interface StepTime {
  readonly step: number
  readonly atMs: Ms
}

/**
 * How long each kind may keep the run from its next commit (docs/fault-matrix.md), on top of the time that a process takes to start, where it
 * starts one.
 */
export const boundsMs: Readonly<Record<FaultKind, Ms>> = {
  kill: 5_000,
  stop: 10_000,
  leave: 5_000,
  join: 5_000,
  storm: 10_000,
  flap: 10_000,
  duplicate: 5_000,
  coordinator: 10_000,
  partition: 10_000,
  'one-way': 15_000,
  slow: 5_000,
  corrupt: 2_000,
  clock: 0,
  disk: 0,
  torn: 10_000,
}

/** A step, and what a machine that also runs all the workers adds to any wait. */
export const slackMs: Ms = 5_000

/**
 * Steps between which more time passed than the faults of that time account for, in words. Faults add up: each that was under way in a gap may
 * have held the run up for as long as its bound, and as long as it lasted where it took away what the run cannot do without.
 */
export function checkTimes(steps: readonly StepTime[], faults: readonly FaultTime[]): string[] {
  return steps.flatMap((step, i) => {
    const before = steps[i - 1]
    if (before === undefined) return []
    const gapMs = step.atMs - before.atMs
    const under = faults.filter(
      ({ kind, fromMs, untilMs }) => fromMs < step.atMs && untilMs + boundsMs[kind] + slackMs > before.atMs,
    )
    const allowedMs = under.reduce((sum, fault) => sum + boundsMs[fault.kind] + outageMs(fault), slackMs)
    if (gapMs <= allowedMs) return []
    const names = under.length === 0 ? 'no fault' : under.map(({ kind }) => kind).join(', ')
    return [`step ${step.step} came ${Math.round(gapMs)} ms after the one before; ${names} may cost ${allowedMs} ms`]
  })
}

/** Without a coordinator nothing is committed. */
const outageMs = ({ kind, fromMs, untilMs }: FaultTime): Ms =>
  kind === 'coordinator' || kind === 'torn' ? untilMs - fromMs : 0

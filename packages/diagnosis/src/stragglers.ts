import type { Ms } from '@skein/core'
import { distancesFromOthers, median, noiseOf, trimmedMean } from './robust.ts'

/** What one member did for one step. */
export interface MemberTime {
  readonly workerId: string
  /** In forward, backward and update: without any wait for others. */
  readonly computeMs: Ms
  /** Of its own share of the step. */
  readonly samples: number
}

/** A committed step with all its members. */
export interface StepTimes {
  readonly step: number
  readonly members: readonly MemberTime[]
}

/** That a member is slow, or is so no more. */
export type StragglerChange =
  | { readonly change: 'straggler'; readonly workerId: string; readonly factor: number; readonly reason: string }
  | { readonly change: 'straggler-gone'; readonly workerId: string; readonly reason: string }

export interface Straggler {
  readonly workerId: string
  /** Its time over that of the others. */
  readonly factor: number
  readonly sinceStep: number
  readonly reason: string
}

/** What is kept of a member: the newest last. */
interface History {
  readonly workerId: string
  /** ln(ms for a sample), of the last `windowSteps`. */
  readonly times: readonly number[]
  readonly computeMs: readonly number[]
  /** How far it is above the median of the others in the same step, in logarithms, of the last `noiseSteps`. */
  readonly distances: readonly number[]
  readonly named: Straggler | undefined
}

export interface StragglerState {
  readonly histories: readonly History[]
}

export const noSteps: StragglerState = { histories: [] }

/** Steps that a decision looks at; so many a member is watched before it can be named. */
export const windowSteps = 20
/** Steps from which the noise is learnt. */
const noiseSteps = 128
/** Left out at either end of the window: spikes, and those of the one compared with. */
const trimmed = 0.15
/** A member is slow from 1.14 on, half of 1.3 in logarithms, and is so no more below 1.07. */
const slowFrom = Math.log(1.3) / 2
const goneBelow = slowFrom / 2
/** How many standard errors the mean must be above 0. */
const standardErrors = 5.3
/** Noise is taken for this before it is known, with the weight of so many steps. */
const priorNoise = 0.1
const priorSteps = 16

/**
 * One more committed step: who is slow from here on, and who no longer. A member is slow when its time, over the median of the
 * others' in the same step, is above 1.14 in more than half of the last 20 steps, and above both that and what noise could do in
 * their trimmed mean. So what slows all at once is nobody's fault, and single spikes are nothing.
 *
 * Compared is the time for a sample and the time in all, and the lower ratio counts: part of a step's time grows with the samples
 * and part does not, so a member is slow only when its share explains nothing of it. One that is slow and has a share so small
 * that nobody waits for it is not named.
 *
 * With two members only their ratio is known: the slower one is named. Members without samples are left out, and judged again
 * by what was known of them when they have some. Members that are no more in the step are forgotten.
 */
export function observeStep(
  state: StragglerState,
  { step, members }: StepTimes,
): { readonly state: StragglerState; readonly changes: readonly StragglerChange[] } {
  const measured = members.filter(member => member.samples > 0 && member.computeMs > 0)
  const times = measured.map(member => Math.log(member.computeMs / member.samples))
  const wholes = distancesFromOthers(measured.map(member => Math.log(member.computeMs)))
  const distances = distancesFromOthers(times).map((distance, i) => Math.min(distance, wholes[i] as number))
  const seen = measured.map((member, i) => {
    const former = state.histories.find(history => history.workerId === member.workerId)
    return {
      workerId: member.workerId,
      times: append(former?.times, times[i] as number, windowSteps),
      computeMs: append(former?.computeMs, member.computeMs, windowSteps),
      distances: measured.length < 2 ? [] : append(former?.distances, distances[i] as number, noiseSteps),
      named: former?.named,
    }
  })
  const pooled = lazily(() => median(seen.map(history => noiseOf(history.distances))))
  const judged = seen.map(history => judge(history, step, measured.length, pooled))
  const idle = state.histories.filter(
    ({ workerId }) =>
      members.some(member => member.workerId === workerId) && !seen.some(one => one.workerId === workerId),
  )
  const gone = state.histories
    .filter(({ workerId, named }) => named !== undefined && !members.some(member => member.workerId === workerId))
    .map(
      ({ workerId }): StragglerChange => ({ change: 'straggler-gone', workerId, reason: 'it is no member any more' }),
    )
  return {
    state: { histories: [...judged.map(({ history }) => history), ...idle] },
    changes: [...gone, ...judged.flatMap(({ change }) => (change === undefined ? [] : [change]))],
  }
}

/** Those that are slow now. */
export function stragglers(state: StragglerState): readonly Straggler[] {
  return state.histories.flatMap(({ named }) => (named === undefined ? [] : [named]))
}

/** How fast a member is, by the median of its last 20 steps. */
export interface MemberSpeed {
  readonly workerId: string
  readonly samplesPerSecond: number
  /** Of the speed of all together: the share of the samples with which all would take equally long. */
  readonly share: number
}

/** The speeds of all members of the last step; their shares add up to 1. Time that does not grow with the samples counts as if it did. */
export function relativeSpeeds({ histories }: StragglerState): readonly MemberSpeed[] {
  const speeds = histories.map(({ times }) => 1000 / Math.exp(median(times)))
  const sum = speeds.reduce((total, speed) => total + speed, 0)
  return histories.map(({ workerId }, i) => {
    const samplesPerSecond = speeds[i] as number
    return { workerId, samplesPerSecond, share: samplesPerSecond / sum }
  })
}

/** How long a member computes in a step, by the median of its last 20; undefined for one that has made none. */
export function usualComputeMs({ histories }: StragglerState, workerId: string): Ms | undefined {
  const history = histories.find(one => one.workerId === workerId)
  return history === undefined ? undefined : median(history.computeMs)
}

function judge(
  history: History,
  step: number,
  numMembers: number,
  pooledNoise: () => number,
): { readonly history: History; readonly change?: StragglerChange } {
  const window = history.distances.slice(-windowSteps)
  if (window.length < windowSteps) return { history }
  const mean = trimmedMean(window, trimmed)
  const factor = Math.exp(mean)
  const { workerId, named } = history
  const compared = numMembers === 2 ? 'the only other member' : `the median of the ${numMembers - 1} others`
  const said = `it takes ${factor.toFixed(2)} times as long as ${compared}, for a sample and in all, over the last ${windowSteps} steps`
  if (named !== undefined) {
    if (mean >= goneBelow) return { history: { ...history, named: { ...named, factor, reason: said } } }
    return { history: { ...history, named: undefined }, change: { change: 'straggler-gone', workerId, reason: said } }
  }
  if (mean <= slowFrom || window.filter(distance => distance > slowFrom).length <= windowSteps / 2) return { history }
  const numSteps = history.distances.length
  const noise = Math.max(pooledNoise(), noiseOf(history.distances))
  const variance = (noise ** 2 * numSteps + priorNoise ** 2 * priorSteps) / (numSteps + priorSteps)
  if (mean <= standardErrors * Math.sqrt(variance / windowSteps)) return { history }
  const straggler: Straggler = { workerId, factor, sinceStep: step, reason: said }
  return {
    history: { ...history, named: straggler },
    change: { change: 'straggler', workerId, factor, reason: said },
  }
}

function append(list: readonly number[] | undefined, value: number, atMost: number): readonly number[] {
  return [...(list ?? []).slice(1 - atMost), value]
}

function lazily(make: () => number): () => number {
  let value: number | undefined
  return () => {
    value ??= make()
    return value
  }
}

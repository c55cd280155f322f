import type { Ms } from '@skein/core'
import { candidatesOf, originOf } from './candidates.ts'
import { listNames } from './members.ts'
import { rewound } from './rewinding.ts'
import type { Member, MembershipState } from './state.ts'

/** Whom or what the next generation waits for, in words; undefined: it waits no longer. */
export function awaitedBy(state: MembershipState, nowMs: Ms): string | undefined {
  const { isFirst, suspects, expected, untilMs, stateUntilMs } = state.gathering
  const isOver = nowMs >= untilMs
  if (isFirst) {
    if (isOver) return undefined
    const { numWorkers } = state.config
    // Counted before anyone is looked at: thousands may be on their way.
    const areHere = state.members.tally.loaded >= numWorkers && candidatesOf(state, nowMs).length >= numWorkers
    return areHere ? undefined : countHere(state)
  }
  if (!isOver && suspects.length > 0) return `waiting for the end of ${listNames(suspects)}, reported lost`
  if (!isOver && expected.length > 0) return `waiting for ${listNames(expected)} to come back`
  const candidates = candidatesOf(state, nowMs)
  if (nowMs >= stateUntilMs || originOf(state, candidates) !== undefined) return undefined
  const isWorthIt = nowMs < stateUntilMs - state.config.deadlines.regatherMs + worthwhileMs(state, candidates)
  return isWorthIt ? `waiting for a worker that holds step ${state.committed.step}` : undefined
}

/** How long one that may come back with the last commit is waited for: where these keep a step in memory, no longer than the steps after it take. */
function worthwhileMs(state: MembershipState, candidates: readonly Member[]): Ms {
  const { pausesMs } = state.observed
  if (state.mirror === undefined || pausesMs.length === 0) return Number.POSITIVE_INFINITY
  const { to, state: back } = rewound(state, candidates)
  if (to !== 'mirror') return Number.POSITIVE_INFINITY
  return (state.committed.step - back.committed.step) * Math.max(...pausesMs)
}

export const countHere = (state: MembershipState): string => {
  const { length, tally } = state.members
  const loading = tally.loaded < length ? `, ${length - tally.loaded} of them still loading` : ''
  return `${length} of ${state.config.numWorkers} workers here${loading}`
}

/** A member is here, or gone: nobody waits for its return, nor for its end; whoever joins later under its name is another process. */
export function withoutWaiting(state: MembershipState, workerId: string): MembershipState {
  const { suspects, expected } = state.gathering
  if (!suspects.includes(workerId) && !expected.includes(workerId)) return state
  const others = (names: readonly string[]) => names.filter(name => name !== workerId)
  return { ...state, gathering: { ...state.gathering, suspects: others(suspects), expected: others(expected) } }
}

/**
 * Whoever holds the state may come back with it: the next generation waits for that while. Begins when the last one who held it is lost, and anew while too
 * few come to go on without: a network that was down for all lets them back one after the other.
 */
export const awaitingState = (state: MembershipState, nowMs: Ms): MembershipState => ({
  ...state,
  gathering: { ...state.gathering, stateUntilMs: nowMs + state.config.deadlines.regatherMs },
})

import type { Ms } from '@skein/core'
import { candidatesOf, originOf } from './candidates.ts'
import { listNames } from './members.ts'
import type { MembershipState } from './state.ts'

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
  const isLost = originOf(state, candidatesOf(state, nowMs)) === undefined
  return isLost && nowMs < stateUntilMs ? `waiting for a worker that holds step ${state.committed.step}` : undefined
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

import type { Ms } from '@skein/core'
import { originOf } from './candidates.ts'
import { listNames } from './members.ts'
import type { Member, MembershipState } from './state.ts'

/** Whom or what the next generation waits for, in words; undefined: it waits no longer. */
export function awaitedBy(state: MembershipState, candidates: readonly Member[], nowMs: Ms): string | undefined {
  const { isFirst, suspects, expected, untilMs, stateUntilMs } = state.gathering
  const isOver = nowMs >= untilMs
  if (isFirst) {
    return isOver || candidates.length >= state.config.numWorkers ? undefined : countHere(state)
  }
  if (!isOver && suspects.length > 0) return `waiting for the end of ${listNames(suspects)}, reported lost`
  if (!isOver && expected.length > 0) return `waiting for ${listNames(expected)} to come back`
  const isLost = originOf(state, candidates) === undefined
  return isLost && nowMs < stateUntilMs ? `waiting for a worker that holds step ${state.committed.step}` : undefined
}

export const countHere = (state: MembershipState): string => {
  const { length } = state.members
  const numLoaded = state.members.filter(member => member.loaded !== undefined).length
  const loading = numLoaded < length ? `, ${length - numLoaded} of them still loading` : ''
  return `${length} of ${state.config.numWorkers} workers here${loading}`
}

/** A member is here, or gone: nobody waits for its return, nor for its end; whoever joins later under its name is another process. */
export function withoutWaiting(state: MembershipState, workerId: string): MembershipState {
  const { suspects, expected } = state.gathering
  if (!suspects.includes(workerId) && !expected.includes(workerId)) return state
  const others = (names: readonly string[]) => names.filter(name => name !== workerId)
  return { ...state, gathering: { ...state.gathering, suspects: others(suspects), expected: others(expected) } }
}

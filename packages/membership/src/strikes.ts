import type { Ms } from '@skein/core'
import type { MembershipState } from './state.ts'

/** The first failure costs nothing: machines restart. */
const firstPauseMs: Ms = 1_000
const longestPauseMs: Ms = 100_000
/** So long without a failure, and all earlier ones are forgiven. */
export const forgiveMs: Ms = 300_000
/** Not all that failed together come back together: the pause is up to this share shorter. */
const jitter = 0.25

/** One more failure of this worker. */
export function strike(state: MembershipState, workerId: string, nowMs: Ms): MembershipState {
  const count = strikesOf(state, workerId, nowMs) + 1
  const others = state.strikes.filter(one => one.workerId !== workerId && nowMs - one.lastMs <= forgiveMs)
  return { ...state, strikes: [...others, { workerId, count, lastMs: nowMs }] }
}

/** Failures that are not forgiven yet. */
export function strikesOf(state: MembershipState, workerId: string, nowMs: Ms): number {
  const strikes = state.strikes.find(one => one.workerId === workerId)
  return strikes === undefined || nowMs - strikes.lastMs > forgiveMs ? 0 : strikes.count
}

/** When this worker may be admitted: at once after one failure, then after a pause that doubles with each. */
export function admissibleFrom(state: MembershipState, workerId: string, nowMs: Ms): Ms {
  const count = strikesOf(state, workerId, nowMs)
  if (count <= 1) return nowMs
  const pauseMs = Math.min(longestPauseMs, firstPauseMs * 2 ** (count - 2))
  return nowMs + pauseMs * (1 - jitter * fractionOf(`${workerId}/${count}`))
}

/** A number in [0, 1) that belongs to the text: jitter that a replay repeats (FNV-1a). */
function fractionOf(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193) >>> 0
  return hash / 2 ** 32
}

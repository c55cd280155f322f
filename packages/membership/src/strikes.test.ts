import { expect, test } from 'vitest'
import { configOf } from './simulated-run.test.support.ts'
import { initialState, type MembershipState } from './state.ts'
import { admissibleFrom, forgiveMs, strike } from './strikes.ts'

/** Fails so often, one failure a second. Returns the time, too. */
function failing(workerId: string, times: number): { readonly state: MembershipState; readonly nowMs: number } {
  let state = initialState(configOf(), 0)
  for (let i = 1; i <= times; i++) state = strike(state, workerId, i * 1_000)
  return { state, nowMs: times * 1_000 }
}

const pauseAfter = (times: number, workerId = 'w1'): number => {
  const { state, nowMs } = failing(workerId, times)
  return admissibleFrom(state, workerId, nowMs) - nowMs
}

test('a worker that fails waits not at all, then 1, 2, 4 … 100 s, up to a quarter less', () => {
  expect([pauseAfter(0), pauseAfter(1)]).toEqual([0, 0])
  for (let times = 2; times < 40; times++) {
    const longestMs = Math.min(100_000, 1_000 * 2 ** (times - 2))
    for (const workerId of ['w1', 'w2', 'w3']) {
      expect(pauseAfter(times, workerId)).toBeLessThanOrEqual(longestMs)
      expect(pauseAfter(times, workerId)).toBeGreaterThan(0.75 * longestMs)
    }
  }
})

test('those that fail together do not all come back together', () => {
  const pauses = Array.from({ length: 20 }, (_, i) => pauseAfter(9, `w${i}`))
  expect(new Set(pauses).size).toBe(20)
})

test('after five quiet minutes all is forgiven, and nobody pays for another', () => {
  const { state, nowMs } = failing('w1', 20)
  expect(admissibleFrom(state, 'w1', nowMs + forgiveMs)).toBeGreaterThan(nowMs + forgiveMs)
  expect(admissibleFrom(state, 'w1', nowMs + forgiveMs + 1)).toBe(nowMs + forgiveMs + 1)
  expect(admissibleFrom(state, 'w2', nowMs)).toBe(nowMs)
  expect(forgiveMs).toBe(300_000)
})

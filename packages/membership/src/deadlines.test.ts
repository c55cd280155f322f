import fc from 'fast-check'
import { fuzzRuns, useTestSeed } from '@skein/testkit'
import { describe, expect, test } from 'vitest'
import { stallAfterMs, withMove } from './deadlines.ts'
import { configOf } from './simulated-run.test.support.ts'
import { initialState, type MembershipState } from './state.ts'

useTestSeed()

const { stallMs, stallLeastMs } = configOf().deadlines

/** A run whose steps have taken so long, the first one first. */
function after(steps: readonly number[]): MembershipState {
  let nowMs = 0
  let state = initialState(configOf({ totalSteps: 1_000 }), nowMs)
  for (const [i, ms] of steps.entries()) {
    nowMs += ms
    state = { ...withMove(state, nowMs), committed: { ...state.committed, step: i + 1 } }
  }
  return state
}

describe('the wait for a step', () => {
  test.each([
    ['of which nothing is known, is the longest', [], stallMs],
    ['after a first one of 2 s, is the least', [2_000], stallLeastMs],
    ['after a first one of 30 s, is five times that', [30_000], 150_000],
    ['of a run of 50 ms steps that began slowly, is the least', [30_000, 50, 50], stallLeastMs],
    ['of a run of 20 s steps, is five times that', [20_000, 20_000, 20_000], 100_000],
    ['after one of an hour, is the longest', [1, 3_600_000], stallMs],
    ['forgets one that is 20 steps ago', [1, 60_000, ...Array.from({ length: 20 }, () => 50)], stallLeastMs],
    ['remembers one that is 19 steps ago', [1, 60_000, ...Array.from({ length: 19 }, () => 50)], 300_000],
  ])('%s', (_, steps, waitMs) => {
    expect(stallAfterMs(after(steps))).toBe(waitMs)
  })

  test('of the next generation’s first step goes by first steps', () => {
    const state = after([30_000, 50, 50])
    expect(stallAfterMs({ ...state, startStep: state.committed.step })).toBe(150_000)
  })

  test('is within its bounds, never shorter than four times as long as the last steps took, and longer after longer steps', () => {
    const aStep = fc.integer({ min: 1, max: 200_000 })
    fc.assert(
      fc.property(fc.array(aStep, { minLength: 2, maxLength: 40 }), fc.nat(), (steps, who) => {
        const waitMs = stallAfterMs(after(steps))
        expect(waitMs).toBeGreaterThanOrEqual(stallLeastMs)
        expect(waitMs).toBeLessThanOrEqual(stallMs)
        for (const ms of steps.slice(1).slice(-20)) expect(waitMs).toBeGreaterThanOrEqual(Math.min(stallMs, 4 * ms))
        const longer = steps.with(who % steps.length, (steps[who % steps.length] as number) * 2)
        expect(stallAfterMs(after(longer))).toBeGreaterThanOrEqual(waitMs)
      }),
      { numRuns: fuzzRuns(300) },
    )
  })
})

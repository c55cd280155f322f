import { expect, test } from 'vitest'
import { unitCosts } from './costs.ts'
import { generateSchedule } from './families.ts'
import { withPostValidation } from './post-validation.ts'
import type { Schedule } from './schedule.ts'
import { simulate } from './simulate.ts'
import { repeated, steadyPeriod } from './steady.ts'
import { checkSchedule } from './validate.ts'

const zbH2 = generateSchedule('zb-h2', { ranks: 4, microbatches: 12 })

test('a validated update costs no time, where a barrier costs the ramp', () => {
  const validated = withPostValidation(zbH2)
  expect(checkSchedule(validated)).toBeUndefined()
  expect(steadyPeriod(validated, unitCosts)).toBe(36)
  expect(simulate(zbH2, unitCosts).makespan).toBe(39)
})

test('every rank learns the verdict on its update from the last one, and before its next backward', () => {
  const { ops } = simulate(repeated(withPostValidation(zbH2), 3), { ...unitCosts, hop: 0.1 })
  const when = (rank: number, op: string, step: number) =>
    ops[rank]?.find(one => one.op.op === op && 'step' in one.op && one.op.step === step)?.start ?? Number.NaN
  for (const step of [0, 1]) {
    const known = ops[3]?.findLast(({ op }) => op.op === 'update' && op.step === step)?.end ?? Number.NaN
    for (let rank = 0; rank < 4; rank++) {
      expect(when(rank, 'validate', step)).toBeGreaterThanOrEqual(known + 0.1 * (3 - rank) - 1e-9)
      const backward = ops[rank]?.find(({ op }) => op.op === 'B' && op.microbatch === 12 * (step + 1))?.start
      expect(backward).toBeGreaterThanOrEqual(when(rank, 'validate', step))
    }
  }
})

test('a verdict that is missing or comes too late is refused', () => {
  const validated = withPostValidation(zbH2)
  const without: Schedule = { ...validated, ops: validated.ops.map(list => list.filter(({ op }) => op !== 'validate')) }
  expect(checkSchedule(without)?.message).toMatch(/there are 0 validations of the step before/)
  const late: Schedule = {
    ...validated,
    ops: without.ops.map(list => [...list.slice(0, -1), { op: 'validate', step: -1 }, { op: 'update' }]),
  }
  expect(checkSchedule(late)?.message).toMatch(/a backward stands before the validation/)
})

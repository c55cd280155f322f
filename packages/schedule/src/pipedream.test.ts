import { expect, test } from 'vitest'
import { unitCosts } from './costs.ts'
import { generateSchedule } from './families.ts'
import { weightVersions } from './pipedream.ts'
import { withPostValidation } from './post-validation.ts'
import type { ScheduleOp } from './schedule.ts'
import { simulate } from './simulate.ts'
import { withWeightGradsLast } from './two-bp.ts'
import { checkSchedule } from './validate.ts'

test('rank r keeps p-r versions, and its gradients are p-1-r updates late once the pipe is full', () => {
  for (let ranks = 1; ranks <= 8; ranks++) {
    const versions = weightVersions(generateSchedule('pipedream', { ranks, microbatches: 3 * ranks }))
    for (const [rank, { stash, delays }] of versions.entries()) {
      expect(stash).toBe(ranks - rank)
      expect(Math.max(...delays)).toBe(ranks - 1 - rank)
      expect(new Set(delays.slice(ranks - rank - 1))).toEqual(new Set([ranks - 1 - rank]))
      // The pipe fills: the first microbatches meet weights that are less old.
      expect(delays.slice(0, ranks - rank)).toEqual(Array.from({ length: ranks - rank }, (_, j) => j))
    }
  }
})

test('a microbatch more costs its work and nothing else', () => {
  const until = (microbatches: number) =>
    simulate(generateSchedule('pipedream', { ranks: 5, microbatches }), unitCosts).makespan
  expect(until(41) - until(40)).toBeCloseTo(3, 9)
})

test('with one update at the end there is one version and nothing is late', () => {
  for (const { stash, delays } of weightVersions(generateSchedule('1f1b', { ranks: 4, microbatches: 8 }))) {
    expect(stash).toBe(1)
    expect(new Set(delays)).toEqual(new Set([0]))
  }
})

test('an update before its gradient is refused, wherever it stands', () => {
  const schedule = generateSchedule('pipedream', { ranks: 2, microbatches: 4 })
  const [first = [], ...others] = schedule.ops
  const movedUp = (list: readonly ScheduleOp[], index: number) =>
    list.toSpliced(index, 1).toSpliced(index - 1, 0, list[index] as ScheduleOp)
  for (const [index, { op }] of first.entries()) {
    if (op !== 'update') continue
    const problem = checkSchedule({ ...schedule, ops: [movedUp(first, index), ...others] })
    expect(problem).toMatchObject({ kind: 'order', message: expect.stringMatching(/update \d stands before the gr/u) })
  }
})

test('what is changed at the end of a step is refused where there is none', () => {
  const schedule = generateSchedule('pipedream', { ranks: 2, microbatches: 4 })
  const refused = expect.objectContaining({
    code: 'SKEIN_SCHEDULE_OPTIONS',
    todo: expect.stringMatching(/updates once/u),
  })
  expect(() => withWeightGradsLast(schedule)).toThrow(refused)
  expect(() => withPostValidation(schedule)).toThrow(refused)
})

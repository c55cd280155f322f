import fc from 'fast-check'
import { expect, test } from 'vitest'
import { peakActivations } from './activations.ts'
import { workOf } from './costs.ts'
import { generateSchedule } from './families.ts'
import { recompute } from './recompute.ts'
import { simulate } from './simulate.ts'
import { withWeightGradsLast } from './two-bp.ts'
import { checkSchedule } from './validate.ts'

test('GPipe that recomputes holds one microbatch, for a forward more of each and nothing else', () => {
  const time = fc.integer({ min: 1, max: 30 })
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 1, max: 16 }),
      time,
      time,
      time,
      (ranks, m, forward, inputGrad, weightGrad) => {
        const costs = { forward, inputGrad, weightGrad }
        const schedule = recompute(generateSchedule('gpipe', { ranks, microbatches: m }))
        expect(checkSchedule(schedule)).toBeUndefined()
        expect(peakActivations(schedule)).toEqual(schedule.ops.map(() => 1))
        // Where a rank waits for a gradient it has run the forward again meanwhile, so that the ramp is no longer than before.
        expect(simulate(schedule, costs).makespan).toBe(m * (workOf(costs) + forward) + (ranks - 1) * workOf(costs))
      },
    ),
    { numRuns: 50 },
  )
})

test('one stage that recomputes holds less, the others what they held', () => {
  const schedule = generateSchedule('1f1b', { ranks: 4, microbatches: 8 })
  expect(peakActivations(recompute(schedule, new Set([0])))).toEqual([1, 3, 2, 1])
})

test('2BP of any schedule is valid, and no slower than with the weight gradients in between', () => {
  for (const name of ['gpipe', '1f1b', 'interleaved', 'breadth-first', 'zb-h1']) {
    const schedule = generateSchedule(name, { ranks: 4, microbatches: 8 })
    const late = withWeightGradsLast(schedule)
    expect(checkSchedule(late)).toBeUndefined()
    const costs = { forward: 1, inputGrad: 1.2, weightGrad: 0.8 }
    expect(simulate(late, costs).makespan).toBeLessThanOrEqual(
      simulate(schedule, costs).makespan + (name === 'zb-h1' ? 5 : 1e-9),
    )
  }
})

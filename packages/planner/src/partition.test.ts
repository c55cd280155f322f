import fc from 'fast-check'
import { expect, test } from 'vitest'
import { partition, perStage } from './partition.ts'

const costsOf = fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 9 })

test('no cut has a cheaper dearest stage, and of those with the same none is more even', () => {
  fc.assert(
    fc.property(costsOf, fc.integer({ min: 1, max: 9 }), (costs, wanted) => {
      const numStages = Math.min(wanted, costs.length)
      const rank = (counts: readonly number[]) => {
        const stages = perStage(counts, costs)
        return [Math.max(...stages), stages.reduce((sum, cost) => sum + cost ** 2, 0)] as const
      }
      const found = partition(costs, numStages)
      expect(found).toHaveLength(numStages)
      expect(Math.min(...found)).toBeGreaterThanOrEqual(1)
      expect(found.reduce((sum, count) => sum + count, 0)).toBe(costs.length)
      const best = allCuts(costs.length, numStages)
        .map(rank)
        .reduce((a, b) => (b[0] < a[0] || (b[0] === a[0] && b[1] < a[1]) ? b : a))
      expect(rank(found)).toEqual(best)
    }),
    { numRuns: 300 },
  )
})

/** Every way to deal `units` to `stages`, at least one each. */
function allCuts(units: number, stages: number): readonly (readonly number[])[] {
  if (stages === 1) return [[units]]
  return Array.from({ length: units - stages + 1 }, (_, i) => i + 1).flatMap(first =>
    allCuts(units - first, stages - 1).map(rest => [first, ...rest]),
  )
}

test('a free embedding joins the first block, and a dear head stands alone', () => {
  expect(partition([0, 1, 1, 1, 1, 3], 2)).toEqual([4, 2])
  expect(partition([0, 1, 1, 1, 1, 3], 3)).toEqual([3, 2, 1])
})

test.each([[0], [5], [1.5]])('refuses %d stages of four units, and says how many would do', numStages => {
  expect(() => partition([1, 1, 1, 1], numStages)).toThrow(
    expect.objectContaining({
      code: 'SKEIN_PLANNER_TOO_MANY_STAGES',
      message: expect.stringMatching(new RegExp(`4 units.*${numStages} stages.*from 1 to 4`, 'su')),
    }),
  )
})

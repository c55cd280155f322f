import { expect, test } from 'vitest'
import { unitCosts } from './costs.ts'
import { generateSchedule } from './families.ts'
import { simulate } from './simulate.ts'

const visitsOf = (paths: readonly (readonly number[])[], stages: number) =>
  Array.from({ length: stages }, (_, stage) => paths.filter(path => path.includes(stage)).length)

test('every path begins and ends at the ends of the pipe, and the stages between are visited alike', () => {
  for (let ranks = 3; ranks <= 8; ranks++) {
    const { paths = [] } = generateSchedule('skippipe', { ranks, microbatches: 11 })
    for (const path of paths) {
      expect(path).toHaveLength(Math.ceil((2 * ranks) / 3))
      expect([path[0], path.at(-1)]).toEqual([0, ranks - 1])
      // Neighbours among those visited may have changed places, and no more.
      const sorted = path.toSorted((a, b) => a - b)
      for (const [i, stage] of path.entries()) expect(Math.abs(sorted.indexOf(stage) - i)).toBeLessThanOrEqual(1)
    }
    const between = visitsOf(paths, ranks).slice(1, -1)
    expect(Math.max(...between) - Math.min(...between)).toBeLessThanOrEqual(1)
  }
})

test('it is quicker than the full pipe over the same hops and uneven stages', () => {
  const costs = { ...unitCosts, hop: 0.5, stageWeights: [1, 1.4, 0.8, 1, 1.2, 0.6] }
  const options = { ranks: 6, microbatches: 12, costs }
  const full = simulate(generateSchedule('1f1b', options), costs).makespan
  const partial = simulate(generateSchedule('skippipe', options), costs).makespan
  expect(partial).toBeLessThan(full)
})

test('where a stage is taken, microbatches change its place with the next', () => {
  const costs = { ...unitCosts, stageWeights: [0.2, 2, 0.2, 0.2, 0.2, 0.2] }
  const { paths = [] } = generateSchedule('skippipe', { ranks: 6, microbatches: 8, costs })
  expect(paths.some(path => path.some((stage, i) => i > 0 && stage < (path[i - 1] as number)))).toBe(true)
})

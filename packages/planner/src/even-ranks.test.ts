import fc from 'fast-check'
import { expect, test } from 'vitest'
import { evenRanks } from './even-ranks.ts'
import { partition, perStage } from './partition.ts'

const dearest = (counts: readonly number[], costs: readonly number[], places: readonly number[]) => {
  const ranks: number[] = []
  for (const [stage, cost] of perStage(counts, costs).entries()) {
    const rank = places[stage] as number
    ranks[rank] = (ranks[rank] ?? 0) + cost
  }
  return Math.max(...ranks)
}
/** Two ranks with two stages each, down and up. */
const v = [0, 1, 1, 0]

test('a dear head on a V gets a light stage beside it on its rank', () => {
  const costs = [1, 1, 1, 1, 1, 1, 4]
  expect(partition(costs, 4)).toEqual([2, 2, 2, 1])
  expect(dearest(partition(costs, 4), costs, v)).toBe(6)
  expect(dearest(evenRanks(costs, [v]), costs, v)).toBe(5)
})

test('the dearest rank is never dearer than with the dearest stage made cheap', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 4, maxLength: 12 }),
      fc.constantFrom([v], [[0, 1, 0, 1]], [[0, 1, 2, 3]], [v, [1, 0, 0, 1]]),
      (costs, pipes) => {
        const counts = evenRanks(costs, pipes)
        expect(counts.reduce((sum, count) => sum + count, 0)).toBe(costs.length)
        expect(Math.min(...counts)).toBeGreaterThanOrEqual(1)
        const places = pipes[0] as number[]
        if (pipes.length > 1) return
        expect(dearest(counts, costs, places)).toBeLessThanOrEqual(dearest(partition(costs, 4), costs, places))
      },
    ),
  )
})

test('of a GPT, with its free embedding and its dear head, it is nearly always as cheap as any cut makes it', () => {
  let best = 0
  let all = 0
  for (const head of [0.5, 1, 2, 3, 4]) {
    for (let blocks = 4; blocks <= 10; blocks++) {
      for (const places of [v, [0, 1, 0, 1], [0, 1, 2, 2, 1, 0], [0, 1, 2, 0, 1, 2]]) {
        const costs = [0.05, ...Array<number>(blocks).fill(1), head]
        const cheapest = Math.min(...allCuts(costs.length, places.length).map(cut => dearest(cut, costs, places)))
        all++
        if (dearest(evenRanks(costs, [places]), costs, places) <= cheapest + 1e-9) best++
      }
    }
  }
  expect(best / all).toBeGreaterThanOrEqual(0.98)
})

/** Every way to deal `units` to `stages`, at least one each. */
function allCuts(units: number, stages: number): readonly (readonly number[])[] {
  if (stages === 1) return [[units]]
  return Array.from({ length: units - stages + 1 }, (_, i) => i + 1).flatMap(first =>
    allCuts(units - first, stages - 1).map(rest => [first, ...rest]),
  )
}

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { peakActivations } from './activations.ts'
import type { Costs } from './costs.ts'
import { generateSchedule } from './families.ts'
import { simulate } from './simulate.ts'

const costs: Costs = { forward: 1, inputGrad: 1.3, weightGrad: 0.7, hop: 0.2 }
const bubble = (name: string, cap?: number) => {
  const schedule = generateSchedule(name, { ranks: 8, microbatches: 32, costs, ...(cap === undefined ? {} : { cap }) })
  return 100 * simulate(schedule, costs).syncBubble
}

test('more memory is less bubble, and with little there is still a schedule', () => {
  const bubbles = [1, 4, 8, 12, 16].map(cap => bubble('auto', cap))
  expect(bubbles).toEqual(bubbles.toSorted((a, b) => b - a))
  // Of another program's search: 14.9, 10.5 and 8.1; a wider one than ours.
  for (const [cap, most] of [
    [8, 15],
    [12, 10.7],
    [16, 8.6],
  ] as const)
    expect(bubble('auto', cap)).toBeLessThan(most)
})

test('it is never slower than a rule made by hand that fits the memory, and never holds more', () => {
  const time = fc.integer({ min: 1, max: 30 }).map(tenths => tenths / 10)
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 6 }),
      fc.integer({ min: 1, max: 16 }),
      fc.integer({ min: 1, max: 12 }),
      fc.record({ forward: time, inputGrad: time, weightGrad: time, hop: time }),
      (ranks, microbatches, cap, measured) => {
        const found = generateSchedule('auto', { ranks, microbatches, cap, costs: measured })
        expect(Math.max(...peakActivations(found))).toBeLessThanOrEqual(cap)
        const quickest = simulate(found, measured).makespan
        for (const name of ['1f1b', 'zb-h1']) {
          const rule = generateSchedule(name, { ranks, microbatches })
          if (Math.max(...peakActivations(rule)) > cap) continue
          expect(quickest).toBeLessThanOrEqual(simulate(rule, measured).makespan + 1e-9)
        }
      },
    ),
    { numRuns: 40 },
  )
})

test('nothing is quicker, among all orders of two ranks with three microbatches', () => {
  for (const [forward, inputGrad, weightGrad, hop] of [
    [1, 1, 1, 0],
    [1, 1.5, 0.5, 0],
    [2, 1, 1, 0.5],
    [1, 2, 2, 1],
  ] as const) {
    const measured = { forward, inputGrad, weightGrad, hop }
    const found = generateSchedule('auto', { ranks: 2, microbatches: 3, cap: 3, costs: measured })
    expect(simulate(found, measured).makespan).toBeCloseTo(exhaustively(measured, 2, 3, 3), 9)
  }
})

/** The shortest time of all lists there are: every rank in every state starts every op it can, now or after waiting for it. */
function exhaustively(
  { forward, inputGrad, weightGrad, hop = 0 }: Costs,
  ranks: number,
  m: number,
  cap: number,
): number {
  let best = Number.POSITIVE_INFINITY
  const [f, b, w, free] = [0, 1, 2, 3].map(() => Array<number>(ranks).fill(0)) as [
    number[],
    number[],
    number[],
    number[],
  ]
  const ends = new Map<string, number>()
  const visit = () => {
    // No rank ends before it has done what is left.
    const ahead = (rank: number) =>
      (m - (f[rank] as number)) * forward +
      (m - (b[rank] as number)) * inputGrad +
      (m - (w[rank] as number)) * weightGrad
    if (free.some((time, rank) => time + ahead(rank) >= best)) return
    if (w.every(count => count === m)) best = Math.max(...free)
    for (let rank = 0; rank < ranks; rank++) {
      for (const [kind, counts, time] of [
        ['F', f, forward],
        ['B', b, inputGrad],
        ['W', w, weightGrad],
      ] as const) {
        const j = counts[rank] as number
        if (j === m) continue
        if (kind === 'F' && j + 1 - (w[rank] as number) > cap) continue
        if (kind === 'B' && j >= (f[rank] as number)) continue
        if (kind === 'W' && j >= (b[rank] as number)) continue
        const from = kind === 'F' ? rank - 1 : rank + 1
        const isCrossing = kind !== 'W' && from >= 0 && from < ranks
        const input = isCrossing ? ends.get(`${kind} ${from} ${j}`) : 0
        if (input === undefined) continue
        const before = free[rank] as number
        const end = Math.max(before, isCrossing ? input + hop : 0) + time
        free[rank] = end
        counts[rank] = j + 1
        ends.set(`${kind} ${rank} ${j}`, end)
        visit()
        ends.delete(`${kind} ${rank} ${j}`)
        counts[rank] = j
        free[rank] = before
      }
    }
  }
  visit()
  return best
}

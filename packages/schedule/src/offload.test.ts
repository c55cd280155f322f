import { expect, test } from 'vitest'
import { unitCosts } from './costs.ts'
import { families, generateSchedule } from './families.ts'
import { type OffloadOptions, offloadActivations, usualCopyCosts } from './pipe-offload.ts'
import { recompute } from './recompute.ts'
import { describeOp } from './schedule.ts'
import { simulate } from './simulate.ts'
import { checkSchedule } from './validate.ts'

const most = (values: readonly number[]) => Math.max(...values)

/** What 8 ranks with 32 microbatches hold without and with copies that take `copy` for a forward of 1. */
function offloaded(name: string, chunks: number, copy: number, options: OffloadOptions = {}) {
  const schedule = generateSchedule(name, { ranks: 8, microbatches: 32, chunks })
  const costs = { ...unitCosts, copy }
  const before = simulate(schedule, costs)
  const away = offloadActivations(schedule, costs, options)
  expect(checkSchedule(away)).toBeUndefined()
  const after = simulate(away, costs)
  return {
    before: most(before.peakActivations),
    after: most(after.peakActivations),
    slower: after.makespan / before.makespan,
  }
}

test.each<[string, number, number, number, number]>([
  // 1F1B, ZB-V and half of the stages below are the figures of another program; interleaved holds half an activation more here.
  ['1f1b', 1, 0.5, 8, 2],
  ['1f1b', 1, 1, 8, 2],
  ['interleaved', 2, 1, 11.5, 1.5],
  ['interleaved', 4, 1, 9.75, 0.75],
  ['zb-v', 2, 1, 8, 7.5],
])('%s with %d chunks and copies of %d: %d held, then %d, in the same time', (name, chunks, copy, before, after) => {
  expect(offloaded(name, chunks, copy)).toEqual({ before, after, slower: 1 })
})

test('copies slower than a forward free less', () => {
  const held = [1, 1.5, 3, 20].map(copy => offloaded('1f1b', 1, copy).after)
  expect(held).toEqual([2, 5, 7, 8])
})

test.each<[string, number, number, number]>([
  ['interleaved', 2, 11.5, 5],
  ['v-half', 2, 5, 3.5],
])('%s with only the first half of the stages away: %d chunks, %d held, then %d', (name, chunks, before, after) => {
  const options = { which: ({ stage }: { stage: number }) => stage < 8 }
  expect(offloaded(name, chunks, 1, options)).toEqual({ before, after, slower: 1 })
})

test('what is offloaded comes back before its backward, and what is needed at once stays', () => {
  const costs = { ...unitCosts, copy: 1 }
  const lists = offloadActivations(generateSchedule('1f1b', { ranks: 4, microbatches: 6 }), costs).ops.map(list =>
    list.map(describeOp),
  )
  expect(lists[3]?.some(name => name.startsWith('offload'))).toBe(false)
  for (let microbatch = 0; microbatch < 6; microbatch++) {
    const at = (op: string) => lists[0]?.indexOf(`${op} of stage 0, microbatch ${microbatch}`) ?? -1
    expect([at('F'), at('offload'), at('reload'), at('BW')]).toEqual(
      [at('F'), at('offload'), at('reload'), at('BW')].toSorted((a, b) => a - b),
    )
    expect(at('offload')).toBeGreaterThan(0)
  }
})

test('adaptive: a slice takes with it what the next has time for, and copies never fall behind', () => {
  const sliceParts = [0.1, 0.2, 0.3, 0.4]
  const costs = { ...unitCosts, sliceParts, copy: 1 }
  const schedule = generateSchedule('sppo', { ranks: 4, microbatches: 6, slices: 4 })
  const away = offloadActivations(schedule, costs, { adaptive: true })
  expect(checkSchedule(away)).toBeUndefined()
  const shares = new Map(away.ops.flat().flatMap(op => (op.op === 'offload' ? [[op.slice, op.share ?? 1]] : [])))
  expect([shares.get(0), shares.get(1)]).toEqual([expect.closeTo(0.4, 9), expect.closeTo(0.8, 9)])
  const [before, after] = [simulate(schedule, costs), simulate(away, costs)]
  expect(after.makespan).toBeCloseTo(before.makespan, 9)
  expect(most(after.peakActivations)).toBeLessThan(most(before.peakActivations))
})

test('with any schedule that recomputes, what is offloaded comes back before the forward is run again', () => {
  for (const { name, chunks } of families) {
    for (const ranks of [2, 3, 4, 6]) {
      if (ranks < 3 && name === 'skippipe') continue
      if (ranks % 2 === 1 && name === 'bitpipe') continue
      const sizes = { ranks, microbatches: 2 * ranks, ...(chunks === 'any' ? { chunks: 2 } : {}) }
      const dropped = recompute(generateSchedule(name, sizes))
      const away = offloadActivations(dropped, usualCopyCosts)
      expect(checkSchedule(away), `${name} of ${ranks}`).toBeUndefined()
      // The last rank's backward follows at once, but others wait.
      expect(away.ops[0]?.some(({ op }) => op === 'offload')).toBe(true)
    }
  }
})

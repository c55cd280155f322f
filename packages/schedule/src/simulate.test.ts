import fc from 'fast-check'
import { expect, test } from 'vitest'
import { unitCosts } from './costs.ts'
import { drawSchedule } from './draw.ts'
import { families, generateSchedule } from './families.ts'
import { sizesOf } from './family.ts'
import { offloadActivations } from './pipe-offload.ts'
import { recompute } from './recompute.ts'
import { isVocabulary, type Schedule, type ScheduleOp } from './schedule.ts'
import { peakHeld, simulate } from './simulate.ts'

const timesOf = (list: readonly { readonly start: number; readonly end: number }[] = []) =>
  list.map(({ start, end }) => [start, end])

test('an op starts when the device is free and its inputs are there, a hop after they were made', () => {
  const { ops, makespan, busy } = simulate(generateSchedule('1f1b', { ranks: 2, microbatches: 2 }), {
    forward: 1,
    inputGrad: 1,
    weightGrad: 1,
    hop: 0.5,
  })
  expect(timesOf(ops[1])).toEqual([
    [1.5, 2.5],
    [2.5, 4.5],
    [4.5, 5.5],
    [5.5, 7.5],
    [7.5, 7.5],
  ])
  expect(timesOf(ops[0])).toEqual([
    [0, 1],
    [1, 2],
    [5, 7],
    [8, 10],
    [10, 10],
  ])
  expect(makespan).toBe(10)
  expect(busy).toEqual([6, 6])
})

test('a fused backward has a time of its own, a stage its weight, and every op its dispatch', () => {
  const schedule = generateSchedule('gpipe', { ranks: 2, microbatches: 1 })
  expect(simulate(schedule, { ...unitCosts, backward: 1.5 }).makespan).toBe(5)
  expect(simulate(schedule, { ...unitCosts, stageWeights: [1, 3] }).busy).toEqual([3, 9])
  expect(simulate(schedule, { ...unitCosts, dispatch: 0.25 }).makespan).toBe(7)
})

test('messages go over a link one after another', () => {
  const schedule = generateSchedule('gpipe', { ranks: 2, microbatches: 3 })
  const starts = simulate(schedule, { ...unitCosts, linkBusy: 4 }).ops[1]?.map(({ start }) => start)
  expect(starts?.slice(0, 3)).toEqual([5, 9, 13])
  // A hop takes as long and holds nothing up.
  const hops = simulate(schedule, { ...unitCosts, hop: 4 }).ops[1]?.map(({ start }) => start)
  expect(hops?.slice(0, 3)).toEqual([5, 6, 7])
})

test('a stage has its own times, and a link its own', () => {
  const schedule = generateSchedule('gpipe', { ranks: 2, microbatches: 1 })
  const stages = [
    { forward: 1, inputGrad: 2, weightGrad: 3 },
    { forward: 10, inputGrad: 20, weightGrad: 30, backward: 40 },
  ]
  expect(simulate(schedule, { ...unitCosts, stages }).busy).toEqual([6, 50])
  const links = [
    [{}, { hop: 2 }],
    [{ hop: 5, linkBusy: 1 }, {}],
  ]
  const [first, last] = simulate(schedule, { ...unitCosts, hop: 100, links }).ops
  expect(last?.[0]?.start).toBe(3)
  expect(first?.[1]?.start).toBe(3 + 1 + 2 + 6)
})

test('a message takes device time of both its ends', () => {
  const schedule = generateSchedule('1f1b', { ranks: 3, microbatches: 1 })
  // Of six ops the two in the middle take and send, the others do either.
  expect(simulate(schedule, { ...unitCosts, message: 0.5 }).busy).toEqual([4, 5, 4])
})

test('a copy holds the device where the costs say so', () => {
  const costs = { ...unitCosts, copy: 0.5 }
  const schedule = offloadActivations(generateSchedule('gpipe', { ranks: 1, microbatches: 2 }), costs)
  // Both microbatches go away and come back.
  expect(simulate(schedule, costs).makespan).toBe(6)
  expect(simulate(schedule, { ...costs, copyHoldsDevice: true }).makespan).toBe(6 + 4 * 0.5)
})

test('an op takes as much longer as it is stretched', () => {
  const schedule = generateSchedule('gpipe', { ranks: 2, microbatches: 2 })
  const stretch = (op: ScheduleOp) => ('stage' in op && op.stage === 1 ? 3 : 1)
  expect(simulate(schedule, unitCosts, { stretch }).busy).toEqual([6, 18])
})

test('what is held is counted in what each stage keeps; where the forward runs again only its input waits', () => {
  const kept = { activations: [100, 10], inputs: [3, 2], gradients: [7, 5] }
  const held = (schedule: Schedule) => peakHeld(schedule, simulate(schedule, unitCosts).ops, kept)
  const schedule = generateSchedule('1f1b', { ranks: 2, microbatches: 4 })
  expect(held(schedule)).toEqual([200, 10])
  expect(held(recompute(schedule))).toEqual([103, 10])
  // All four wait for their weight gradients.
  const last = generateSchedule('2bp', { ranks: 2, microbatches: 4 })
  expect(held(last)).toEqual([4 * 107, 4 * 15])
  // Or are mostly gone by then: two are under way on the first rank, one on the last, where the fourth comes when three have left 1 each.
  const freed = { ...kept, gradients: [-90, -9] }
  expect(peakHeld(last, simulate(last, unitCosts).ops, freed)).toEqual([2 * 100 + 2 * 10, 10 + 3 * 1])
})

test('what slices share is held whatever is dropped or copied, and its gradients beside it', () => {
  const kept = { activations: [100], inputs: [4], shared: [20] }
  const held = (schedule: Schedule) => peakHeld(schedule, simulate(schedule, unitCosts).ops, kept)
  const schedule = generateSchedule('sppo', { ranks: 1, microbatches: 1, slices: 2 })
  // Two slices of 50, and gradients of the 10 that the first one shares.
  expect(held(schedule)).toEqual([110])
  // Of each slice 2 of input and 10 that are shared; the other 38 come back for one at a time.
  expect(held(recompute(schedule))).toEqual([2 * 12 + 38 + 10])
  // The first slice goes to the host before the second one comes.
  const ops = (['F', 'offload', 'F'] as const).map((op, at) => {
    return { op: { op, stage: 0, microbatch: 0, slice: at === 2 ? 1 : 0 }, start: at, end: at + 1 }
  })
  expect(peakHeld(schedule, [ops], kept)).toEqual([10 + 50])
})

/** By another program: what has come and waits is memory too. */
test.each<[name: string, ranks: number, microbatches: number, most: number]>([
  ['breadth-first', 2, 8, 6],
  ['interleaved', 8, 16, 3],
  ['1f1b', 8, 16, 1],
])('%s on %d ranks with %d microbatches: at most %d messages wait', (name, ranks, microbatches, most) => {
  const { peakQueued } = simulate(generateSchedule(name, { ranks, microbatches }), unitCosts)
  expect(Math.max(...peakQueued)).toBe(most)
})

test('no op overlaps another of its device, and nothing starts before its inputs have come, whatever the costs', () => {
  const time = fc.integer({ min: 1, max: 30 }).map(tenths => tenths / 10)
  fc.assert(
    fc.property(
      fc.constantFrom(...families),
      fc.record({ forward: time, inputGrad: time, weightGrad: time, hop: time, linkBusy: time, dispatch: time }),
      (family, costs) => {
        const schedule = family.generate(sizesOf(family, { ranks: 4, microbatches: 8 }))
        const { ops } = simulate(schedule, costs)
        const ends = new Map<string, number>()
        for (const list of ops) {
          for (const [i, { start }] of list.entries())
            expect(start).toBeGreaterThanOrEqual((list[i - 1]?.end ?? 0) - 1e-9)
          for (const { op, end } of list) {
            if ('microbatch' in op && !isVocabulary(op))
              ends.set(`${op.op === 'BW' ? 'B' : op.op} ${op.stage} ${op.microbatch} ${op.slice ?? 0}`, end)
          }
        }
        for (const { op, start } of ops.flat()) {
          if (!('microbatch' in op) || isVocabulary(op)) continue
          const path = schedule.paths?.[op.microbatch] ?? [...(schedule.pipes[0] ?? []).keys()]
          const next = path[path.indexOf(op.stage) + (op.op === 'F' ? -1 : 1)]
          const places = schedule.pipes[schedule.pipeOf?.[op.microbatch] ?? 0]
          if (next === undefined || op.op === 'W') continue
          const made = ends.get(`${op.op === 'F' ? 'F' : 'B'} ${next} ${op.microbatch} ${op.slice ?? 0}`) ?? Number.NaN
          const way = places?.[next] === places?.[op.stage] ? 0 : costs.hop + costs.linkBusy
          expect(start).toBeGreaterThanOrEqual(made + way - 1e-9)
        }
      },
    ),
    { numRuns: 60 },
  )
})

test('runs and draws as many ops as the command line takes', () => {
  const schedule = generateSchedule('gpipe', { ranks: 64, microbatches: 1024 })
  expect(simulate(schedule, unitCosts).makespan).toBe(3 * (1024 + 63))
  expect(drawSchedule(schedule).split('\n')).toHaveLength(65)
}, 60_000)

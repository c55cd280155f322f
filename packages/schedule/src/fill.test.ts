import { seededRandom } from '@skein/core'
import { describe, expect, test } from 'vitest'
import { type Costs, durationOf, unitCosts } from './costs.ts'
import { drawSchedule } from './draw.ts'
import { families, generateSchedule } from './families.ts'
import { withFill } from './fill.ts'
import { fillsAlone, makersOf, numPieces } from './frozen.ts'
import { offloadActivations } from './pipe-offload.ts'
import { withPostValidation } from './post-validation.ts'
import { withReductions } from './reductions.ts'
import { type FillOp, isFill, type Schedule, type ScheduleOp } from './schedule.ts'
import { simulate } from './simulate.ts'
import { repeated } from './steady.ts'
import { messagesBetween } from './traffic.ts'
import { lower } from './transfers.ts'
import { checkSchedule } from './validate.ts'

const synchronous = families.filter(({ name }) => name !== 'pipedream')

function* schedulesOf(name: string, costs: Costs): Generator<Schedule> {
  for (const ranks of [1, 2, 3, 4]) {
    for (const microbatches of [1, 2 * ranks - 1, 2 * ranks, 9]) {
      try {
        yield generateSchedule(name, { ranks, microbatches, costs })
      } catch {
        // It has none of such sizes, and says so.
      }
    }
  }
}

/** What the devices do but fills, and when. */
function restOf(schedule: Schedule, costs: Costs) {
  return simulate(schedule, costs).ops.map(list =>
    list
      .filter(({ op }) => !isFill(op))
      .map(({ op, start, end }) => ({ op, start: rounded(start), end: rounded(end) })),
  )
}

const rounded = (time: number) => Number(time.toFixed(6))

describe('frozen layers in idle time', () => {
  for (const { name } of synchronous) {
    test(`${name}: nothing else starts later, and every layer of every piece is run once, in order, on one rank`, () => {
      const random = seededRandom(5, name.length)
      let count = 0
      for (const plain of schedulesOf(name, unitCosts)) {
        const draw = (least: number, most: number) => least + (most - least) * random.nextFloat()
        const frozen = Array.from({ length: 1 + random.nextInt(3) }, () => draw(0.05, 2))
        const costs: Costs = {
          forward: draw(0.5, 2),
          inputGrad: draw(0.5, 2),
          weightGrad: draw(0.5, 2),
          hop: draw(0, 0.5),
          frozen,
        }
        const filled = withFill(plain, costs, 1 + random.nextInt(3))
        expect(checkSchedule(filled)).toBeUndefined()
        expect(checkSchedule(lower(withReductions(filled)))).toBeUndefined()
        // All but the update, which is the end of the list.
        const [before, after] = [restOf(plain, costs), restOf(filled, costs)].map(ranks =>
          ranks.map(list => list.filter(({ op }) => op.op !== 'update')),
        )
        expect(after).toEqual(before)
        const { makespan, ops } = simulate(filled, costs)
        const base = simulate(plain, costs).makespan
        const lastFill = Math.max(...ops.flat().flatMap(({ op, end }) => (isFill(op) ? [end] : [])))
        expect(rounded(makespan)).toBe(rounded(Math.max(base, lastFill)))
        count++
      }
      expect(count).toBeGreaterThan(1)
    })
  }

  test('one frozen layer: the time stays up to the last piece that a gap holds, and each one more ends where a rank is free first', () => {
    let [fitting, beyond] = [0, 0]
    for (const { name } of synchronous) {
      for (const plain of schedulesOf(name, unitCosts)) {
        const { ops, makespan } = simulate(plain, unitCosts)
        for (const time of [0.25, 0.7, 1]) {
          for (const cuts of [1, 4]) {
            const costs = { ...unitCosts, frozen: [time * cuts] }
            const ends = ops.map(timed => {
              let [free, held] = [0, 0]
              for (const { start, end } of timed) {
                held += Math.floor((start - free) / time + 1e-9)
                free = Math.max(free, end)
              }
              const last = Math.floor((makespan - free) / time + 1e-9)
              return { held: held + last, end: free + last * time }
            })
            const capacity = ends.reduce((sum, { held }) => sum + held, 0)
            const pieces = plain.microbatches * cuts
            const more = ends.flatMap(({ end }) => Array.from({ length: pieces }, (_, k) => end + (k + 1) * time))
            const expected = pieces <= capacity ? makespan : more.toSorted((a, b) => a - b)[pieces - capacity - 1]
            expect(simulate(withFill(plain, costs, cuts), costs).makespan).toBeCloseTo(expected as number, 6)
            if (pieces <= capacity) fitting++
            else beyond++
          }
        }
      }
    }
    expect(Math.min(fitting, beyond)).toBeGreaterThan(50)
  })

  for (const ranks of [2, 3, 4, 6]) {
    test(`1f1b on ${ranks} ranks takes p(p-1)T of frozen work, ${ranks * (ranks - 1) * 3} units, and grows by T for every p pieces more`, () => {
      const costs = { ...unitCosts, frozen: [1, 1, 1] }
      const capacity = ranks * (ranks - 1)
      for (const more of [0, 1, ranks, ranks + 1]) {
        const plain = generateSchedule('1f1b', { ranks, microbatches: capacity + more })
        const before = simulate(plain, costs)
        const { makespan, busy } = simulate(withFill(plain, costs), costs)
        expect(makespan).toBe(before.makespan + 3 * Math.ceil(more / ranks))
        if (more === 0) expect(busy).toEqual(busy.map(() => makespan))
      }
    })
  }

  test('zb-h1 has a third of that to give', () => {
    const costs = { ...unitCosts, frozen: [1] }
    for (const [microbatches, makespan] of [
      [12, 39],
      [13, 43],
    ] as const) {
      const plain = generateSchedule('zb-h1', { ranks: 4, microbatches })
      expect(simulate(withFill(plain, costs), costs).makespan).toBe(makespan)
    }
  })

  test('copies to the host and back go on as they did', () => {
    const costs = { ...unitCosts, copy: 0.5, frozen: [0.5, 0.5] }
    const plain = offloadActivations(generateSchedule('1f1b', { ranks: 4, microbatches: 9 }), costs)
    const filled = withFill(plain, costs, 2)
    const withoutUpdate = (schedule: Schedule) =>
      restOf(schedule, costs).map(list => list.filter(({ op }) => op.op !== 'update'))
    expect(withoutUpdate(filled)).toEqual(withoutUpdate(plain))
    expect(checkSchedule(filled)).toBeUndefined()
  })

  test('is drawn', () => {
    const plain = generateSchedule('1f1b', { ranks: 3, microbatches: 4 })
    const costs = { ...unitCosts, frozen: [1, 2] }
    expect(drawSchedule(withFill(plain, costs), { costs }).split('\n')).toEqual([
      '1f1b filled: 3 ranks with 1 stage each, 4 microbatches, time 18, idle 11.1 %, at most 3 activations held',
      'r0 F0F1F2#1#1#1. B0B0F3B1B1. B2B2. B3B3',
      'r1 #0F0F1#0#0B0B0F2B1B1F3B2B2#3B3B3#3#3',
      'r2 #2. F0B0B0F1B1B1F2B2B2F3B3B3#2#2',
    ])
  })

  test('a piece that was not made where the first stage is costs one message', () => {
    const plain = generateSchedule('1f1b', { ranks: 4, microbatches: 6 })
    const filled = withFill(plain, { ...unitCosts, frozen: [1] }, 2)
    const [before, after] = [messagesBetween(plain), messagesBetween(filled)]
    const makers = [...makersOf(filled).values()]
    expect(makers).toHaveLength(12)
    for (const from of [0, 1, 2, 3]) {
      const made = from === 0 ? 0 : makers.filter(maker => maker === from).length
      expect(after[from]).toEqual(before[from]?.map((count, to) => count + (to === 0 ? made : 0)))
    }
    // Two pipes have a first stage each.
    const twoWays = generateSchedule('bitpipe', { ranks: 4, microbatches: 8 })
    const both = messagesBetween(withFill(twoWays, { ...unitCosts, frozen: [1] }))
    const extra = both.map((row, from) => row.map((count, to) => count - (messagesBetween(twoWays)[from]?.[to] ?? 0)))
    expect(new Set(extra.flatMap(row => row.flatMap((count, to) => (count > 0 ? [to] : []))))).toEqual(new Set([0, 3]))
  })

  test('the first stage takes a piece a step and a hop after it was made', () => {
    const costs = { ...unitCosts, hop: 0.25, frozen: [1, 1] }
    const filled = withFill(generateSchedule('1f1b', { ranks: 4, microbatches: 8 }), costs, 2)
    const { ops } = simulate(repeated(filled, 3), costs)
    const makers = makersOf(repeated(filled, 3))
    let fromOthers = 0
    for (const { op, start } of ops[0] ?? []) {
      if (op.op !== 'F' || op.microbatch < 8) continue
      for (const piece of [2 * (op.microbatch - 8), 2 * (op.microbatch - 8) + 1]) {
        const maker = makers.get(piece) as number
        const made =
          ops[maker]?.find(one => isFill(one.op) && one.op.layer === 1 && one.op.piece === piece)?.end ?? Number.NaN
        expect(start).toBeGreaterThanOrEqual(made + (maker === 0 ? 0 : 0.25))
        if (maker !== 0) fromOthers++
      }
    }
    expect(fromOthers).toBeGreaterThan(8)
    expect(numPieces(repeated(filled, 3))).toBe(48)
  })

  test('the first step has nothing ready: the frozen layers by themselves take the work of the rank that has most', () => {
    const costs = { ...unitCosts, frozen: [1, 1] }
    const filled = withFill(generateSchedule('1f1b', { ranks: 4, microbatches: 8 }), costs)
    const most = Math.max(...filled.ops.map(list => list.filter(isFill).length))
    expect(simulate(fillsAlone(filled), costs).makespan).toBe(most)
    expect(durationOf(filled, { op: 'fill', layer: 1, piece: 3 }, costs)).toBe(1)
  })
})

describe('what is wrong with filled lists', () => {
  const costs = { ...unitCosts, frozen: [1, 1] }
  const filled = withFill(generateSchedule('1f1b', { ranks: 3, microbatches: 6 }), costs)
  const changed = (rank: number, change: (list: readonly ScheduleOp[]) => readonly ScheduleOp[]): Schedule => ({
    ...filled,
    ops: filled.ops.map((list, at) => (at === rank ? change(list) : list)),
  })
  const one = (filled.ops[2] ?? []).filter(isFill)[0] as FillOp
  const without = (list: readonly ScheduleOp[]) => list.filter(op => op !== one)
  const { frozen: _, ...unsaid } = filled

  const cases: readonly (readonly [string, Schedule, string, RegExp])[] = [
    ['a layer that nobody runs', changed(2, without), 'missing', /nobody does "fill of frozen layer 0, piece/u],
    [
      'one that is run twice',
      changed(2, list => [one, ...list]),
      'doubled',
      /"fill of frozen layer 0, piece \d+" is there twice/u,
    ],
    [
      'a piece on two ranks',
      {
        ...filled,
        ops: filled.ops.map((list, rank) => (rank === 0 ? [one, ...list] : rank === 2 ? without(list) : list)),
      },
      'misplaced',
      /another layer of it/u,
    ],
    [
      'a layer before the one below it',
      changed(2, list => [
        { ...one, layer: 1 },
        ...list.filter(op => !(isFill(op) && op.piece === one.piece && op.layer === 1)),
      ]),
      'order',
      /on rank 2 "fill of frozen layer 1, piece \d+" stands before "fill of frozen layer 0/u,
    ],
    ['one after the update', changed(2, list => [...without(list), one]), 'order', /stands (after the update|before)/u],
    [
      'a layer that there is not',
      changed(2, list => [{ ...one, layer: 2 }, ...list]),
      'malformed',
      /2 frozen layers of 6 pieces/u,
    ],
    ['a piece that there is not', changed(2, list => [{ ...one, piece: 6 }, ...list]), 'malformed', /6 pieces/u],
    ['fills of a model without a frozen part', unsaid, 'malformed', /has "fill of frozen layer/u],
    ['no layers', { ...filled, frozen: { layers: 0, cuts: 1, lead: 6 } }, 'malformed', /there are 0 layers/u],
  ]
  for (const [what, schedule, kind, message] of cases) {
    test(what, () => {
      const found = checkSchedule(schedule)
      expect(found?.kind).toBe(kind)
      expect(found?.message).toMatch(message)
    })
  }

  test('is not there for schedules whose steps run into one another, twice, or without layers', () => {
    const plain = generateSchedule('zb-h2', { ranks: 3, microbatches: 6 })
    const refused = expect.objectContaining({ code: 'SKEIN_SCHEDULE_OPTIONS' })
    expect(() => withFill(plain, unitCosts)).toThrow(refused)
    expect(() => withFill(filled, costs)).toThrow(refused)
    expect(() => withFill(lower(plain), costs)).toThrow(refused)
    expect(() => withFill(plain, costs, 0)).toThrow(refused)
    expect(() => withFill(withPostValidation(plain), costs)).toThrow(refused)
    expect(() => withFill(generateSchedule('pipedream', { ranks: 3, microbatches: 6 }), costs)).toThrow(refused)
  })
})

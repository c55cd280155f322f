import fc from 'fast-check'
import { expect, test } from 'vitest'
import { peakActivations } from './activations.ts'
import { alternate } from './build.ts'
import { unitCosts } from './costs.ts'
import { generateSchedule } from './families.ts'
import { offloadActivations } from './pipe-offload.ts'
import { describeOp, isCompute, type Schedule, type ScheduleOp } from './schedule.ts'
import { simulate } from './simulate.ts'
import { lower } from './transfers.ts'
import { assertValidSchedule, checkSchedule } from './validate.ts'
import { shardWeights } from './weights.ts'

/** The schedule with the list of one rank changed. */
function changed(schedule: Schedule, rank: number, change: (list: ScheduleOp[]) => void): Schedule {
  const ops = schedule.ops.map(list => [...list])
  change(ops[rank] as ScheduleOp[])
  return { ...schedule, ops }
}

const sizes = { ranks: 3, microbatches: 4 }
const split = generateSchedule('zb-h1', sizes)
const places = (schedule: Schedule) =>
  schedule.ops.flatMap((list, rank) => list.map((op, index) => ({ rank, index, op })))

test('an op that is dropped is missed by name, whichever it is', () => {
  for (const { rank, index, op } of places(split)) {
    const found = checkSchedule(changed(split, rank, list => list.splice(index, 1)))
    expect(found?.kind).toBe(op.op === 'update' ? 'order' : 'missing')
    if (op.op !== 'update')
      expect(found?.message).toContain(`of stage ${rank}, microbatch ${'microbatch' in op ? op.microbatch : ''}"`)
  }
})

test('an op that is doubled is refused, whichever it is', () => {
  for (const { rank, index, op } of places(split)) {
    const found = checkSchedule(changed(split, rank, list => list.splice(index, 0, op)))
    expect(found?.kind).toBe(op.op === 'update' ? 'order' : 'doubled')
  }
})

test('an op on another rank is misplaced, whichever it is', () => {
  for (const { rank, index, op } of places(split)) {
    if (op.op === 'update') continue
    const without = changed(split, rank, list => list.splice(index, 1))
    const found = checkSchedule(changed(without, (rank + 1) % 3, list => list.splice(0, 0, op)))
    expect(found).toEqual({
      kind: 'misplaced',
      message: `rank ${(rank + 1) % 3} has "${describeOp(op)}", which rank ${rank} holds`,
    })
  }
})

test('an op moved within its rank is refused, or all that was promised still holds', () => {
  // What the rule forbids is looked for by other means: the ops before it in the list, and the lists run by the simulator.
  let refused = 0
  for (const { rank, index, op } of places(split)) {
    for (let to = 0; to < (split.ops[rank]?.length ?? 0); to++) {
      if (to === index) continue
      const moved = changed(split, rank, list => {
        list.splice(index, 1)
        list.splice(to, 0, op)
      })
      const found = checkSchedule(moved)
      if (found !== undefined) refused++
      expect(found === undefined, `${describeOp(op)} of rank ${rank} from ${index} to ${to}: ${found?.message}`).toBe(
        isFine(moved, rank),
      )
    }
  }
  expect(refused).toBeGreaterThan(300)
})

/** Plainly: forwards before backwards before weight gradients, those in order, update last, promise kept, and it runs. */
function isFine(schedule: Schedule, rank: number): boolean {
  const list = (schedule.ops[rank] ?? []).map(describeOp)
  const at = (op: string, microbatch: number) => list.indexOf(`${op} of stage ${rank}, microbatch ${microbatch}`)
  for (let microbatch = 0; microbatch < schedule.microbatches; microbatch++) {
    if (!(at('F', microbatch) < at('B', microbatch) && at('B', microbatch) < at('W', microbatch))) return false
    if (microbatch > 0 && at('W', microbatch) < at('W', microbatch - 1)) return false
  }
  if (list.at(-1) !== 'update') return false
  if (peakActivations(schedule).some((held, r) => held > (schedule.promise?.[r] ?? 0))) return false
  try {
    return simulate(schedule, unitCosts).makespan > 0
  } catch {
    return false
  }
}

test('a circle of waits is told rank by rank', () => {
  // Each backward on rank 1 waits for a forward that rank 2 can only do after one of rank 1's that stands behind it.
  const circle = changed(generateSchedule('gpipe', { ranks: 2, microbatches: 2 }), 0, list => {
    const [backward] = list.splice(2, 1)
    list.splice(1, 0, backward as ScheduleOp)
  })
  const waiting = changed(circle, 1, list => {
    const [forward] = list.splice(1, 1)
    list.splice(0, 0, forward as ScheduleOp)
  })
  expect(checkSchedule(waiting)).toEqual({
    kind: 'deadlock',
    message:
      'rank 0 waits in "BW of stage 0, microbatch 0" for "BW of stage 1, microbatch 0" of rank 1, ' +
      'rank 1 waits in "F of stage 1, microbatch 1" for "F of stage 0, microbatch 1" of rank 0: a circle',
  })
  expect(() => simulate(waiting, unitCosts)).toThrow(/does not run to its end: rank 0 waits in/)
})

test('interleaved with three times the forwards waits in a circle, as users of others have found', () => {
  const schedule = generateSchedule('interleaved', { ranks: 4, microbatches: 8, chunks: 2 })
  const { promise: _promise, ...rest } = schedule
  const eager = (factor: number): Schedule => ({
    ...rest,
    ops: schedule.ops.map((list, rank) => {
      const forwards = list.filter(isCompute).filter(({ op }) => op === 'F')
      const backwards = list.filter(isCompute).filter(({ op }) => op === 'BW')
      return [...alternate(forwards, backwards, factor * (3 - rank) + 4), { op: 'update' }]
    }),
  })
  expect(checkSchedule(eager(1))).toBeUndefined()
  expect(checkSchedule(eager(2))).toBeUndefined()
  expect(checkSchedule(eager(3))?.kind).toBe('deadlock')
})

test('one activation more than promised is refused, on every rank', () => {
  for (let rank = 0; rank < 3; rank++) {
    const promise = (split.promise ?? []).map((count, r) => (r === rank ? count - 1 : count))
    expect(checkSchedule({ ...split, promise })).toEqual({
      kind: 'memory',
      message: `rank ${rank} holds 3 activations, and promised 2`,
    })
  }
})

test.each<[string, Partial<Schedule>, RegExp]>([
  ['no microbatches', { microbatches: 0 }, /there are 0 microbatches/],
  ['a list too few', { ops: split.ops.slice(1) }, /2 lists for 3 ranks/],
  ['a stage that is nowhere', { pipes: [[0, 1]] }, /places 2 of 3 stages/],
  ['stages unevenly held', { pipes: [[0, 0, 1]] }, /rank 0 holds 2 of 3 stages/],
  ['a microbatch without a pipe', { pipeOf: [0, 0, 0, 1] }, /microbatch 3 has no pipe/],
  ['a path that turns back on itself', { paths: [[0, 1, 0], [0], [0], [0]] }, /microbatch 0 has the path \[0,1,0\]/],
  [
    'fewer stages than are used',
    { stages: 2, pipes: [[0, 1]], ranks: 2, ops: split.ops.slice(0, 2), microbatches: 2 },
    /there are 2 stages/,
  ],
  ['a promise too few', { promise: [1] }, /1 promises for 3 ranks/],
])('sizes that cannot be are named: %s', (_, change, message) => {
  const { promise: _promise, ...rest } = split
  const found = checkSchedule({ ...rest, ...change })
  expect(found?.kind).toBe('malformed')
  expect(found?.message).toMatch(message)
})

test('a message lowered has its partner; dropped, moved to the wrong side or turned round it is refused', () => {
  fc.assert(
    fc.property(fc.constantFrom('1f1b', 'gpipe', 'interleaved', 'zb-h1'), fc.nat(), fc.nat(8), (name, pick, ahead) => {
      const schedule = lower(generateSchedule(name, { ranks: 3, microbatches: 6 }), ahead)
      expect(checkSchedule(schedule)).toBeUndefined()
      const messages = places(schedule).filter(({ op }) => 'peer' in op)
      const { rank, index, op } = messages[pick % messages.length] as (typeof messages)[number]
      expect(checkSchedule(changed(schedule, rank, list => list.splice(index, 1)))?.kind).toBe('unmatched')
      expect(checkSchedule(changed(schedule, rank, list => list.splice(index, 0, op)))?.kind).toBe('doubled')
      const wrongSide = changed(schedule, rank, list => {
        list.splice(index, 1)
        list.splice(op.op.startsWith('send') ? 0 : list.length, 0, op)
      })
      expect(checkSchedule(wrongSide)?.kind).toBe('unmatched')
      const wrongPeer = changed(schedule, rank, list => list.splice(index, 1, { ...op, peer: rank } as ScheduleOp))
      expect(checkSchedule(wrongPeer)?.kind).toBe('unmatched')
    }),
    { numRuns: 40 },
  )
})

test('sharded weights: a stage is there when it is computed and reduced after its last gradient', () => {
  const schedule = shardWeights(generateSchedule('breadth-first', { ranks: 3, microbatches: 4, chunks: 2 }))
  expect(checkSchedule(schedule)).toBeUndefined()
  for (const { rank, index, op } of places(schedule)) {
    if (op.op !== 'gather' && op.op !== 'reduce' && op.op !== 'release') continue
    const found = checkSchedule(changed(schedule, rank, list => list.splice(index, 1)))
    // A release that is missing harms nothing but memory, unless the stage comes back.
    if (op.op !== 'release') expect(found?.kind).toBe('weights')
    const early = checkSchedule(
      changed(schedule, rank, list => {
        list.splice(index, 1)
        list.splice(0, 0, op)
      }),
    )
    if (op.op !== 'gather') expect(early?.kind).toBe('weights')
  }
})

test('assertValidSchedule throws what is wrong and with what', () => {
  expect(() => assertValidSchedule(split)).not.toThrow()
  expect(() => assertValidSchedule(changed(split, 1, list => list.splice(3, 1)))).toThrow(
    /the schedule zb-h1 for 3 ranks and 4 microbatches is invalid \(missing\): nobody does/,
  )
})

test('an activation on the host comes back whole, once, and before it is read', () => {
  const costs = { ...unitCosts, copy: 0.5 }
  const schedule = offloadActivations(generateSchedule('zb-h1', { ranks: 4, microbatches: 6 }), costs)
  expect(checkSchedule(schedule)).toBeUndefined()
  const copies = places(schedule).filter(({ op }) => op.op === 'offload' || op.op === 'reload')
  expect(copies.length).toBeGreaterThan(10)
  for (const { rank, index, op } of copies) {
    const dropped = checkSchedule(changed(schedule, rank, list => list.splice(index, 1)))
    expect(dropped?.kind).toBe(op.op === 'offload' ? 'missing' : 'copies')
    const half = checkSchedule(
      changed(schedule, rank, list => list.splice(index, 1, { ...op, share: 0.5 } as ScheduleOp)),
    )
    expect(half?.kind).toBe('copies')
    if (op.op === 'offload') continue
    const late = changed(schedule, rank, list => list.splice(list.length - 1, 0, ...list.splice(index, 1)))
    expect(['copies', 'deadlock']).toContain(checkSchedule(late)?.kind)
  }
})

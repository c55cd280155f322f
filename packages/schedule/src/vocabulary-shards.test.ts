import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { peakActivations } from './activations.ts'
import { type Costs, unitCosts, workOf } from './costs.ts'
import { drawSchedule, drawScheduleSvg } from './draw.ts'
import { familyOf, generateSchedule } from './families.ts'
import { sizesOf } from './family.ts'
import { forwardSchedule } from './forwards.ts'
import { graphOf, inOrder } from './graph.ts'
import { recompute } from './recompute.ts'
import { withReductions } from './reductions.ts'
import { describeOp, isVocabulary, type Schedule, type ScheduleOp } from './schedule.ts'
import { simulate } from './simulate.ts'
import { steadyPeriod } from './steady.ts'
import { traceOf } from './trace.ts'
import { lower } from './transfers.ts'
import { checkSchedule } from './validate.ts'
import { vocabularyDepth, withVocabularyShards } from './vocabulary-shards.ts'

/** Rules whose ramp is what it was, and rules that wait more than they did but do run. */
const unharmed = ['gpipe', '1f1b', 'eager-1f1b', '2bp', 'zb-h1', 'auto', 'interleaved', 'breadth-first']
const others = ['zb-h2', 'zb-v', 'zeropp']

const anySchedule = (names: readonly string[]) =>
  fc
    .record({
      name: fc.constantFrom(...names),
      ranks: fc.integer({ min: 1, max: 6 }),
      microbatches: fc.integer({ min: 1, max: 11 }),
    })
    .map(({ name, ...sizes }) => {
      const family = familyOf(name)
      try {
        return family.generate(sizesOf(family, sizes))
      } catch {
        return family.generate(sizesOf(family, { ...sizes, microbatches: 4 * sizes.ranks }))
      }
    })

const time = fc.integer({ min: 1, max: 30 }).map(tenths => tenths / 10)
const anyCosts = fc.record({
  forward: time,
  inputGrad: time,
  weightGrad: time,
  vocabulary: fc.record({ lookup: time, logits: time, gradients: time, lookupGrad: time }),
})

test('is valid whatever it is made of and planned for, with its messages and reductions too, and deep enough exchanges always run', () => {
  fc.assert(
    fc.property(anySchedule([...unharmed, ...others]), anyCosts, (base, costs) => {
      const sharded = withVocabularyShards(base, costs)
      expect(checkSchedule(sharded)).toBeUndefined()
      expect(checkSchedule(lower(withReductions(sharded)))).toBeUndefined()
      expect(vocabularyDepth(sharded)).toBeLessThanOrEqual(base.microbatches)
      // What the schedule had is there, and in the order in which each kind was.
      for (const [rank, list] of base.ops.entries()) {
        for (const isForward of [true, false]) {
          const own = (ops: readonly ScheduleOp[]) =>
            ops.filter(op => !isVocabulary(op) && (op.op === 'F') === isForward)
          expect(own(sharded.ops[rank] ?? [])).toEqual(own(list))
        }
      }
    }),
    { numRuns: 40, endOnFailure: true },
  )
})

test('a rank holds two microbatches more than without, and never more than it promises', () => {
  fc.assert(
    fc.property(anySchedule([...unharmed, ...others]), base => {
      const sharded = withVocabularyShards(base)
      const before = peakActivations(base)
      for (const [rank, held] of peakActivations(sharded).entries()) {
        expect(held).toBeLessThanOrEqual(Math.min(base.microbatches, (before[rank] as number) + 2) + 1e-9)
      }
      expect(simulate(sharded, unitCosts).peakActivations).toEqual(peakActivations(sharded))
    }),
    { numRuns: 60 },
  )
})

describe('closed forms', () => {
  for (const ranks of [2, 3, 4, 8]) {
    for (const microbatches of [ranks + 3, 2 * ranks + 1, 4 * ranks]) {
      test(`1F1B, ${ranks} ranks and ${microbatches} microbatches: extra (p-1)T as without, rank r holds p-r+2, exchanges hold 3`, () => {
        const base = generateSchedule('1f1b', { ranks, microbatches })
        const sharded = withVocabularyShards(base)
        const work = workOf(unitCosts) + 2
        const extra = (ranks - 1) * workOf(unitCosts)
        expect(simulate(sharded, unitCosts).makespan).toBeCloseTo(microbatches * work + extra, 9)
        expect(steadyPeriod(sharded, unitCosts)).toBeCloseTo(microbatches * work + extra, 9)
        expect(peakActivations(sharded)).toEqual(
          Array.from({ length: ranks }, (_, rank) => Math.min(microbatches, ranks - rank + 2)),
        )
        expect(vocabularyDepth(sharded)).toBe(3)
      })
      test(`ZB-H1, ${ranks} ranks and ${microbatches} microbatches: extra (p-1)(tF+tB-tW) as without, each holds p+2`, () => {
        const sharded = withVocabularyShards(generateSchedule('zb-h1', { ranks, microbatches }))
        expect(simulate(sharded, unitCosts).makespan).toBeCloseTo(microbatches * 5 + ranks - 1, 9)
        expect(peakActivations(sharded)).toEqual(sharded.ops.map(() => ranks + 2))
      })
    }
  }

  test('what any of these takes beside its work is what it took before', () => {
    for (const name of unharmed) {
      for (const ranks of [2, 3, 4, 8]) {
        // Interleaved on two ranks waits for a microbatch more than it did.
        if (name === 'interleaved' && ranks < 4) continue
        const base = generateSchedule(name, { ranks, microbatches: 2 * ranks })
        const extra = simulate(base, unitCosts).makespan - base.microbatches * 3
        const sharded = withVocabularyShards(base)
        expect(simulate(sharded, unitCosts).makespan - base.microbatches * 5, `${name} ${ranks}`).toBeCloseTo(extra, 9)
      }
    }
  })
})

test('with a head of the work of four blocks, eight ranks that share it take less than a third of the time of those that leave it to the last', () => {
  const [ranks, microbatches, head] = [8, 32, 12]
  const base = generateSchedule('1f1b', { ranks, microbatches })
  const one = { forward: 1, inputGrad: 1, weightGrad: 1 }
  // A head's three products: one forward, two backward.
  const last = { forward: 1 + head / 3, inputGrad: 1 + head / 3, weightGrad: 1 + head / 3 }
  const alone: Costs = { ...one, stages: [...Array.from({ length: ranks - 1 }, () => one), last] }
  const shared: Costs = {
    ...one,
    vocabulary: { lookup: 0, logits: (2 / 3) * (head / ranks), gradients: head / 3 / ranks, lookupGrad: 0 },
  }
  const before = simulate(base, alone)
  const after = simulate(withVocabularyShards(base, shared), shared)
  const imbalance = (busy: readonly number[]) => (Math.max(...busy) * ranks) / busy.reduce((sum, each) => sum + each, 0)
  expect(imbalance(before.busy)).toBeCloseTo((3 + head) / (3 + head / ranks), 9)
  expect(imbalance(after.busy)).toBeCloseTo(1, 9)
  // To the bound: the work of a rank, and the ramp.
  expect(after.makespan).toBeCloseTo(microbatches * (3 + head / ranks) + (ranks - 1) * 3, 6)
  expect(after.makespan).toBeLessThan(before.makespan / 3)
})

describe('what is wrong is refused', () => {
  const sharded = withVocabularyShards(generateSchedule('1f1b', { ranks: 3, microbatches: 5 }))
  const changed = (rank: number, change: (list: ScheduleOp[]) => void): Schedule => {
    const ops = sharded.ops.map(list => [...list])
    change(ops[rank] as ScheduleOp[])
    return { ...sharded, ops }
  }
  const shards = sharded.ops.flatMap((list, rank) =>
    list.flatMap((op, index) => (isVocabulary(op) ? [{ op, rank, index }] : [])),
  )

  test('a pass that is dropped, doubled, on another rank or of a microbatch that is not there', () => {
    expect(shards).toHaveLength(3 * 4 * 5)
    for (const { op, rank, index } of shards) {
      const dropped = changed(rank, list => list.splice(index, 1))
      expect(checkSchedule(dropped)).toEqual({
        kind: 'missing',
        message: `rank ${rank} never does "${describeOp(op)}"`,
      })
      expect(checkSchedule(changed(rank, list => list.splice(index, 0, op)))?.kind).toBe('doubled')
      const elsewhere = dropped.ops.map((list, on) => (on === (rank + 1) % 3 ? [op, ...list] : list))
      expect(checkSchedule({ ...sharded, ops: elsewhere })?.kind).toBe('doubled')
      expect(checkSchedule(changed(rank, list => (list[index] = { ...op, microbatch: 5 })))?.kind).toBe('malformed')
    }
  })

  test('a pass moved within its rank, unless what it takes still comes first and what takes it still later', () => {
    let refused = 0
    for (const { op, rank, index } of shards) {
      for (let to = 0; to < (sharded.ops[rank]?.length ?? 0); to++) {
        if (to === index) continue
        const moved = changed(rank, list => {
          list.splice(index, 1)
          list.splice(to, 0, op)
        })
        const found = checkSchedule(moved)
        if (found !== undefined) refused++
        expect(found === undefined, `${describeOp(op)} of rank ${rank} to ${to}: ${found?.message}`).toBe(
          isFine(moved, rank),
        )
      }
    }
    expect(refused).toBeGreaterThan(1000)
  })

  /** Plainly: each kind in order, S before T, nothing after the update, and it runs. */
  function isFine(schedule: Schedule, rank: number): boolean {
    const list = schedule.ops[rank] ?? []
    if (list.at(-1)?.op !== 'update') return false
    for (const kind of ['E', 'S', 'T', 'G']) {
      const order = list.flatMap(op => (op.op === kind && 'microbatch' in op ? [op.microbatch] : []))
      if (order.some((microbatch, i) => microbatch !== i)) return false
    }
    const at = (op: string, microbatch: number) =>
      list.findIndex(one => one.op === op && 'microbatch' in one && one.microbatch === microbatch)
    for (let microbatch = 0; microbatch < 5; microbatch++) if (at('T', microbatch) < at('S', microbatch)) return false
    // An implementation of its own: whatever can go next goes, until nothing can.
    const done = new Set<string>()
    const heads = schedule.ops.map(() => 0)
    const all = (kind: string, microbatch: number) =>
      schedule.ops.every((_, other) => done.has(`${kind} ${microbatch} ${other}`))
    const stage = (kind: string, at: number, microbatch: number) => done.has(`${kind} ${microbatch} ${at}`)
    const can = (op: ScheduleOp): boolean => {
      if (op.op === 'E') return true
      if (op.op === 'S') return stage('F', 2, op.microbatch)
      if (op.op === 'T') return all('S', op.microbatch)
      if (op.op === 'G') return stage('BW', 0, op.microbatch)
      if (op.op === 'F') return op.stage === 0 ? all('E', op.microbatch) : stage('F', op.stage - 1, op.microbatch)
      if (op.op !== 'BW') return true
      return (
        stage('F', op.stage, op.microbatch) &&
        (op.stage === 2 ? all('T', op.microbatch) : stage('BW', op.stage + 1, op.microbatch))
      )
    }
    for (let moved = true; moved; ) {
      moved = false
      for (const [other, ops] of schedule.ops.entries()) {
        const op = ops[heads[other] as number]
        if (op === undefined || !can(op)) continue
        if ('microbatch' in op) done.add(`${op.op} ${op.microbatch} ${other}`)
        heads[other] = (heads[other] as number) + 1
        moved = true
      }
    }
    return schedule.ops.every((ops, other) => heads[other] === ops.length)
  }

  test('passes of a vocabulary that is whole, and a sharded one where there can be none', () => {
    const { vocabulary: _, ...whole } = sharded
    expect(checkSchedule(whole)?.kind).toBe('malformed')
    const both = { ...generateSchedule('bitpipe', { ranks: 2, microbatches: 4 }), vocabulary: 'sharded' as const }
    expect(checkSchedule(both)?.message).toContain(
      'the vocabulary is sharded, and its microbatches run in two directions',
    )
  })

  test('schedules for which there is no such rule, by what stands in the way', () => {
    const shard = (name: string, ranks: number, microbatches: number) =>
      withVocabularyShards(generateSchedule(name, { ranks, microbatches }))
    expect(() => shard('bitpipe', 4, 8)).toThrow('two directions')
    expect(() => shard('sppo', 4, 8)).toThrow('sliced')
    expect(() => shard('skippipe', 4, 8)).toThrow('paths of their own')
    expect(() => shard('pipedream', 4, 8)).toThrow('before all gradients')
    expect(() => shard('v-half', 8, 16)).toThrow('cannot begin two microbatches earlier')
    expect(() => withVocabularyShards(lower(generateSchedule('1f1b', { ranks: 2, microbatches: 2 })))).toThrow(
      'more than passes',
    )
  })
})

test('forwards alone have the passes up to the loss, and exchanges of few microbatches', () => {
  for (const name of [...unharmed, ...others]) {
    const sharded = withVocabularyShards(generateSchedule(name, { ranks: 4, microbatches: 8 }))
    const forwards = forwardSchedule(sharded, 7)
    for (const list of forwards.ops) expect(list.filter(isVocabulary)).toHaveLength(3 * 7)
    expect([...inOrder(graphOf(forwards))], name).toHaveLength(forwards.ops.flat().length)
    expect(vocabularyDepth(forwards)).toBeLessThanOrEqual(3)
  }
})

test('it recomputes like any other, and is drawn and traced with its passes', () => {
  const sharded = withVocabularyShards(generateSchedule('1f1b', { ranks: 2, microbatches: 3 }))
  expect(checkSchedule(recompute(sharded))).toBeUndefined()
  expect(drawSchedule(sharded)).toMatchInlineSnapshot(`
    "1f1b with a sharded vocabulary: 2 ranks with 1 stage each, 3 microbatches, time 18, idle 16.7 %, at most 3 activations held
    r0 F0F1S0T0F2S1T1. S2T2. . B0B0B1B1B2B2
    r1 . F0S0T0F1S1T1F2S2T2B0B0B1B1B2B2"
  `)
  expect(drawScheduleSvg(sharded)).toContain('rank 1: T of microbatch 2')
  const { ops } = simulate(sharded, unitCosts)
  const names = traceOf(sharded, [{ name: 'simulated', ops }]).traceEvents.map(({ name }) => name)
  expect(names.filter(name => name === 'S 1')).toHaveLength(2)
})

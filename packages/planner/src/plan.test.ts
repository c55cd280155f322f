import { SkeinError } from '@skein/core'
import {
  checkSchedule,
  type Costs,
  families,
  generateSchedule,
  type Schedule,
  simulate,
  type TimedOp,
  vocabularyDepth,
} from '@skein/schedule'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { stateFactor } from './memory.ts'
import { type Candidate, type PlanOptions, planPipeline, scheduleOf } from './plan.ts'
import type { MachineProfile, UnitProfile, VocabularyProfile } from './profile.ts'

const quietMachine: MachineProfile = {
  hopMs: 0,
  bytesPerMs: 1e9,
  messageMs: 0,
  messageMsPerByte: 0,
  dispatchMs: 0,
}

const unit = (over: Partial<UnitProfile> = {}): UnitProfile => ({
  name: 'h',
  forward: 1,
  inputGrad: 1,
  weightGrad: 1,
  backward: 2,
  activationBytes: 1000,
  boundaryBytes: 10,
  parameterBytes: 100,
  ...over,
})
const units = (count: number, over: Partial<UnitProfile> = {}) => Array.from({ length: count }, () => unit(over))

const time = fc.integer({ min: 1, max: 30 }).map(tenths => tenths / 10)
const bytes = fc.integer({ min: 1, max: 50 })
const anyUnit = fc.record({
  name: fc.constant('h'),
  forward: time,
  inputGrad: time,
  weightGrad: time,
  backward: time,
  activationBytes: bytes,
  gradientBytes: bytes,
  boundaryBytes: bytes,
  parameterBytes: bytes,
})
const anyMachine = fc.record({
  hopMs: time,
  bytesPerMs: bytes,
  messageMs: time,
  messageMsPerByte: fc.constant(0.01),
  dispatchMs: time,
  copyBytesPerMs: bytes,
})
const anyOptions: fc.Arbitrary<PlanOptions> = fc.integer({ min: 1, max: 4 }).chain(ranks =>
  fc.record({
    ranks: fc.constant(ranks),
    microbatches: fc.integer({ min: 1, max: 9 }),
    units: fc.array(anyUnit, { minLength: ranks, maxLength: 9 }),
    machine: anyMachine,
  }),
)

test('nothing that fits is quicker than what comes first, and nothing listed is over the memory', () => {
  fc.assert(
    fc.property(anyOptions, fc.double({ min: 0, max: 1, noNaN: true }), (options, part) => {
      const all = planPipeline(options).candidates
      const peaks = all.map(({ peakBytes }) => peakBytes)
      const memoryBytes = Math.min(...peaks) + part * (Math.max(...peaks) - Math.min(...peaks))
      const plan = planPipeline({ ...options, memoryBytes })
      const best = plan.candidates[0] as Candidate
      for (const one of all.filter(({ peakBytes }) => peakBytes <= memoryBytes)) {
        expect(best.stepMs).toBeLessThanOrEqual(one.stepMs)
      }
      for (const one of plan.candidates) expect(one.peakBytes).toBeLessThanOrEqual(memoryBytes)
      expect(plan.candidates.length + plan.tooLarge.length).toBe(all.length)
    }),
    { numRuns: 12 },
  )
})

test('it is never slower than a rule made by hand, as the simulator runs it', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 9 }),
      time,
      time,
      (ranks, microbatches, b, hop) => {
        const costs = { forward: 4, inputGrad: 4 * b, weightGrad: 4, hop }
        const plan = planPipeline({
          ranks,
          microbatches,
          // Four chunks on each rank are cut evenly.
          units: units(4 * ranks, { inputGrad: b, backward: 1 + b }),
          machine: { ...quietMachine, hopMs: hop },
          slices: [],
        })
        const quickest = plan.candidates[0]?.stepMs as number
        for (const { name, slices } of families) {
          if (slices === true || name === 'pipedream' || name === 'skippipe') continue
          for (const chunks of [undefined, 4]) {
            const rule = generatedOrNone(name, { ranks, microbatches, ...(chunks === undefined ? {} : { chunks }) })
            if (rule !== undefined) expect(quickest).toBeLessThanOrEqual(simulate(rule, costs).makespan * (1 + 1e-6))
          }
        }
      },
    ),
    { numRuns: 12 },
  )
})

function generatedOrNone(...args: Parameters<typeof generateSchedule>): Schedule | undefined {
  try {
    return generateSchedule(...args)
  } catch {
    return undefined
  }
}

test('more memory is never more time', () => {
  fc.assert(
    fc.property(anyOptions, options => {
      const peaks = planPipeline(options).candidates.map(({ peakBytes }) => peakBytes)
      const caps = [...new Set(peaks)]
        .sort((a, b) => a - b)
        .filter((_, i, list) => i % Math.ceil(list.length / 6) === 0)
      const times = caps.map(memoryBytes => planPipeline({ ...options, memoryBytes }).candidates[0]?.stepMs as number)
      expect(times).toEqual(times.toSorted((a, b) => b - a))
    }),
    { numRuns: 5 },
  )
})

test('activations are what a naive walk over the simulated step finds, by rank', () => {
  fc.assert(
    fc.property(anyOptions, given => {
      const options = {
        ...given,
        machine: quietMachine,
        units: given.units.map(one => ({ ...one, gradientBytes: 0 })),
      }
      for (const candidate of planPipeline(options).candidates) {
        if (candidate.recompute || candidate.slices > 1) continue
        const schedule = scheduleOf(candidate, options)
        const { ops } = simulate(schedule, { forward: 1, inputGrad: 1, weightGrad: 1 })
        for (const [rank, list] of ops.entries()) {
          expect(candidate.memory[rank]?.activations).toBeCloseTo(mostInFlight(list, options, candidate), 6)
        }
      }
    }),
    { numRuns: 10 },
  )
})

/** In list order: whatever went forward and has not had its weight gradient. */
function mostInFlight(list: readonly TimedOp[], { units: all }: PlanOptions, { stageUnits }: Candidate): number {
  const bytesOf = stageUnits.map((count, stage) => {
    const from = stageUnits.slice(0, stage).reduce((sum, one) => sum + one, 0)
    return all.slice(from, from + count).reduce((sum, one) => sum + one.activationBytes, 0)
  })
  let held = 0
  let most = 0
  for (const { op } of list) {
    if (op.op === 'F') held += bytesOf[op.stage] as number
    most = Math.max(most, held)
    if (op.op === 'W' || op.op === 'BW') held -= bytesOf[op.stage] as number
  }
  return most
}

test('what a rank needs is told apart: activations, messages, and parameters with their moments', () => {
  const { candidates } = planPipeline({ ranks: 2, microbatches: 4, units: units(4), machine: quietMachine })
  const oneFOneB = candidates.find(({ name, recompute }) => name === '1f1b' && !recompute)
  // Two microbatches of two units on the first rank, one on the last. Messages of 10 bytes: two that come are asked for ahead, two may go.
  expect(oneFOneB?.memory.map(({ activations, state }) => [activations, state])).toEqual([
    [2 * 2000, 200 * stateFactor],
    [2000, 200 * stateFactor],
  ])
  for (const { activations, messages, state, total } of oneFOneB?.memory ?? []) {
    expect(messages % 10).toBe(0)
    expect(messages).toBeGreaterThan(0)
    expect(total).toBe(activations + messages + state)
  }
  const bitpipe = candidates.find(({ name }) => name === 'bitpipe')
  expect(bitpipe?.memory.map(({ state }) => state)).toEqual([400 * stateFactor, 400 * stateFactor])
})

test('with time for messages on the device many chunks are no longer worth it', () => {
  const options = { ranks: 4, microbatches: 16, units: units(16), names: ['1f1b', 'interleaved'] }
  const best = (machine: MachineProfile) => planPipeline({ ...options, machine }).candidates[0]
  expect(best(quietMachine)).toMatchObject({ name: 'interleaved', chunks: 4 })
  expect(best({ ...quietMachine, messageMs: 0.4 })).toMatchObject({ name: '1f1b' })
})

test('activations go to the host only where there is one, and it takes device time', () => {
  const options = { ranks: 4, microbatches: 8, units: units(8), names: ['1f1b'] }
  const without = planPipeline({ ...options, machine: quietMachine }).candidates
  expect(without.map(({ offload }) => offload)).toEqual([false, false])
  const { candidates } = planPipeline({ ...options, machine: { ...quietMachine, copyBytesPerMs: 10_000 } })
  const [plain, offloaded] = [false, true].map(wanted =>
    candidates.find(({ offload, recompute }) => offload === wanted && !recompute),
  )
  expect(offloaded?.stepMs).toBeGreaterThan(plain?.stepMs as number)
  expect(offloaded?.peakBytes).toBeLessThan(plain?.peakBytes as number)
})

test('a step without a barrier is shorter where the schedule is made for that', () => {
  const options = { ranks: 4, microbatches: 8, units: units(4), machine: quietMachine, names: ['zb-h2'] }
  const of = (barrier: boolean) => planPipeline({ ...options, barrier }).candidates.find(({ recompute }) => !recompute)
  expect(of(true)?.stepMs).toBeCloseTo(27, 6)
  expect(of(false)?.stepMs).toBeCloseTo(24, 6)
  expect(of(false)?.bubble).toBeCloseTo(0, 6)
})

test('a parameter of two units is there once where one rank has both, and on each rank otherwise', () => {
  const end = unit({ parameterBytes: 1000, tied: { wte: 900 } })
  const { candidates } = planPipeline({
    ranks: 2,
    microbatches: 4,
    units: [end, ...units(2), end],
    machine: quietMachine,
    slices: [],
  })
  const stateOf = (rule: string) =>
    candidates.find(({ name }) => name === rule)?.memory.map(({ state }) => state / stateFactor)
  expect(stateOf('zb-v')).toEqual([2 * 100 + 900, 200])
  expect(stateOf('1f1b')).toEqual([1000 + 100, 100 + 1000])
  // Each rank has every stage.
  expect(stateOf('bitpipe')).toEqual([200 + 200 + 900, 200 + 200 + 900])
})

/** A vocabulary over four ranks, whose head takes three times `head` for a microbatch: a part of it takes its share. */
const shardsOf = (head: number): VocabularyProfile => ({
  ranks: 4,
  first: unit({ forward: 0.01, inputGrad: 0.01, weightGrad: 0.01, backward: 0.02 }),
  last: unit({ forward: 0.01, inputGrad: 0.01, weightGrad: 0.01, backward: 0.02, boundaryBytes: 0 }),
  lookup: 0.01,
  logits: head / 4,
  gradients: head / 2,
  lookupGrad: 0.01,
  activationBytes: 500,
  parameterBytes: 50,
  boundaryBytes: 10,
  foundBytes: 3,
})

test('the vocabulary is dealt out where its head is dear, and not where it is cheap or nobody knows what it takes', () => {
  const withHead = (head: number): PlanOptions => ({
    ranks: 4,
    microbatches: 8,
    // Embedding and head at the ends.
    units: [unit(), ...units(6), unit({ forward: head, inputGrad: head, weightGrad: head, backward: 2 * head })],
    machine: { ...quietMachine, messageMs: 0.05, hopMs: 0.1 },
    vocabulary: shardsOf(head),
  })
  const best = (options: PlanOptions) => planPipeline(options).candidates[0] as Candidate
  const { vocabulary: _unknown, ...whole } = withHead(5)
  const dear = best(withHead(5))
  expect(dear.vocabulary).toBe('sharded')
  // Of 15 ms in the head and 21 elsewhere a rank has a quarter. Whole, BitPipe does best: two ranks have the head, each for every other microbatch.
  expect(dear.stepMs).toBeLessThan(1.2 * 8 * 9)
  expect(best(whole).stepMs).toBeGreaterThan(1.2 * dear.stepMs)
  expect(best(withHead(0.1)).vocabulary).toBeUndefined()
  expect(planPipeline({ ...withHead(5), ranks: 2 }).candidates.every(one => one.vocabulary === undefined)).toBe(true)
  // Whatever is chosen without is there with it, as it was.
  const plain = planPipeline(whole).candidates
  const among = planPipeline(withHead(5)).candidates.filter(
    one => one.vocabulary === undefined && one.cap === undefined,
  )
  expect(among).toEqual(plain.filter(one => one.cap === undefined))
})

test('a schedule with a sharded vocabulary is planned as it is placed for the measured costs, and timed with them', () => {
  const options: PlanOptions = {
    ranks: 4,
    microbatches: 8,
    units: units(8),
    machine: quietMachine,
    vocabulary: shardsOf(2),
  }
  const { candidates, refused } = planPipeline(options)
  const sharded = candidates.filter(({ vocabulary }) => vocabulary === 'sharded')
  expect(new Set(sharded.map(({ name }) => name)).size).toBeGreaterThan(7)
  for (const candidate of sharded) {
    const schedule = scheduleOf(candidate, options)
    expect(checkSchedule(schedule)).toBeUndefined()
    expect(candidate.stepMs).toBe(simulate(schedule, candidate.costs as Costs).makespan)
  }
  for (const [name, why] of [
    ['bitpipe', 'two directions'],
    ['sppo', 'sliced'],
    ['hanayo', 'two microbatches earlier'],
  ]) {
    expect(refused).toContainEqual(
      expect.objectContaining({ name, vocabulary: 'sharded', reason: expect.stringContaining(why as string) }),
    )
  }
})

test('a sharded vocabulary takes memory: its rows, what lies between logits and gradients, and what is exchanged', () => {
  const options: PlanOptions = {
    ranks: 4,
    microbatches: 8,
    units: units(8),
    machine: quietMachine,
    vocabulary: shardsOf(2),
    names: ['1f1b'],
  }
  const { candidates } = planPipeline(options)
  const one = candidates.find(({ vocabulary, recompute }) => vocabulary === 'sharded' && !recompute) as Candidate
  const schedule = scheduleOf(one, options)
  for (const [rank, { activations, messages, state }] of one.memory.entries()) {
    expect(state).toBe(((one.stageUnits[rank] as number) * 100 + 50) * stateFactor)
    let [held, most] = [0, 0]
    for (const op of schedule.ops[rank] ?? []) {
      if (op.op === 'F') held += (one.stageUnits[rank] as number) * 1000
      if (op.op === 'S') held += 500
      most = Math.max(most, held)
      if (op.op === 'BW') held -= (one.stageUnits[rank] as number) * 1000
      if (op.op === 'T') held -= 500
    }
    expect(activations).toBe(most)
    expect(messages).toBeGreaterThanOrEqual(vocabularyDepth(schedule) * (4 * 10 + 4 * 3))
  }
})

test('jitter ranks by the time that nine in ten steps do not exceed, the same for the same seed', () => {
  const names = ['1f1b', 'interleaved', 'zb-h1', 'zb-v', 'v-half']
  const options = { ranks: 4, microbatches: 8, units: units(8), machine: { ...quietMachine, hopMs: 0.2 }, names }
  const jitter = { spread: 0.3, samples: 12, seed: 5 }
  const plan = planPipeline({ ...options, jitter })
  const times = plan.candidates.map(({ p90Ms }) => p90Ms as number)
  expect(times).toEqual(times.toSorted((a, b) => a - b))
  expect(planPipeline({ ...options, jitter })).toEqual(plan)
  for (const { p90Ms, stepMs } of plan.candidates) expect(p90Ms).toBeGreaterThan(stepMs)
  const still = planPipeline({ ...options, jitter: { ...jitter, spread: 0 } })
  for (const { p90Ms, stepMs } of still.candidates) expect(p90Ms).toBeCloseTo(stepMs, 9)
})

test('memory that nothing fits is refused with the least that would do, and that does', () => {
  const options: PlanOptions = { ranks: 4, microbatches: 8, units: units(8), machine: quietMachine, memoryBytes: 1400 }
  const error = caught(() => planPipeline(options))
  expect(error).toMatchObject({ code: 'SKEIN_PLANNER_NOTHING_FITS', details: { memoryBytes: 1400 } })
  const { leastBytes, schedule } = error.details as { leastBytes: number; schedule: string }
  expect(error.todo).toContain(`${leastBytes} bytes`)
  const { candidates } = planPipeline({ ...options, memoryBytes: leastBytes })
  expect(candidates.map(({ name }) => name)).toContain(schedule)
  expect(caught(() => planPipeline({ ...options, memoryBytes: leastBytes - 1 })).code).toBe(error.code)
})

test('more ranks than units, and names that none is made of, are refused with what would do', () => {
  const options: PlanOptions = { ranks: 4, microbatches: 3, units: units(4), machine: quietMachine }
  expect(caught(() => planPipeline({ ...options, ranks: 5 }))).toMatchObject({
    code: 'SKEIN_PLANNER_TOO_MANY_STAGES',
    todo: expect.stringContaining('from 1 to 4'),
  })
  expect(caught(() => planPipeline({ ...options, names: ['zb-v'] }))).toMatchObject({
    code: 'SKEIN_PLANNER_NO_SCHEDULE',
    why: expect.stringContaining('at least 7 microbatches'),
  })
  // Others are there, and it is said why these are not.
  const { refused } = planPipeline(options)
  expect(refused).toContainEqual(
    expect.objectContaining({ name: 'zb-v', reason: expect.stringContaining('at least 7') }),
  )
  expect(refused).toContainEqual(
    expect.objectContaining({
      name: 'v-half',
      chunks: 2,
      reason: '8 stages are more than the 4 units of the model',
    }),
  )
  expect(refused).toContainEqual(
    expect.objectContaining({ name: 'pipedream', reason: expect.stringContaining('learned') }),
  )
})

function caught(action: () => unknown): SkeinError {
  try {
    action()
  } catch (error) {
    if (error instanceof SkeinError) return error
  }
  throw new Error('nothing was refused')
}

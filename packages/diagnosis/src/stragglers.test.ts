import { expect, test } from 'vitest'
import { NoisyRun } from './noisy-steps.test.support.ts'
import { noSteps, observeStep, relativeSpeeds, stragglers, type StragglerState, usualComputeMs } from './stragglers.ts'

/** SKEIN_FUZZ_RUNS multiplies the seeds, which are the same in every run of the test: 40 give the figures of the README. */
const times = Number(process.env['SKEIN_FUZZ_RUNS'] ?? 1)
const sizes = [
  { numMembers: 2, seeds: 25 },
  { numMembers: 3, seeds: 25 },
  { numMembers: 8, seeds: 12 },
  { numMembers: 64, seeds: 1 },
]

test.each(sizes.flatMap(size => [0.05, 0.1].map(cv => ({ ...size, cv }))))(
  '$numMembers members with noise of $cv: 1.3 is named within 20 steps, and nobody in 1,000 equal ones',
  ({ numMembers, seeds, cv }) => {
    const delays: number[] = []
    let wrong = 0
    for (let i = 0; i < seeds * times; i++) {
      const seed = i + 1
      wrong += new NoisyRun({ numMembers, cv, seed }).run(1000).changes.length > 0 ? 1 : 0
      const slowed = new NoisyRun({ numMembers, cv, seed, slow: { factor: 1.3, from: 101 } }).run(150)
      const [first] = slowed.changes
      if (first?.workerId === 'w0' && first.step > 100) delays.push(first.step - 100)
      else wrong++
    }
    delays.sort((a, b) => a - b)
    const at = (part: number) => delays[Math.floor(part * (delays.length - 1))]
    const late = delays.filter(delay => delay > 20).length
    const numRuns = seeds * times
    console.info(
      `${numMembers} members, noise ${cv}, ${numRuns} runs: ${wrong} wrong, ${late} after 20 steps; median ${at(0.5)}, 99 % ${at(0.99)}, last ${at(1)}`,
    )
    // Between two members the noise is that of both; 4 of 1,000 wrong and 8 late are what the README gives for 10 %.
    const isHardest = numMembers === 2 && cv === 0.1
    expect(late).toBeLessThanOrEqual(isHardest ? Math.max(2, 0.04 * numRuns) : Math.max(1, 0.01 * numRuns))
    expect(wrong).toBeLessThanOrEqual(Math.max(1, 0.006 * numRuns))
  },
  600_000,
)

test('the reason gives factor and comparison; recovery is told, too', () => {
  const run = new NoisyRun({ numMembers: 3, cv: 0.05, seed: 1, slow: { factor: 1.5, from: 50, to: 100 } }).run(99)
  expect(run.changes).toHaveLength(1)
  expect(run.changes[0]).toMatchObject({ change: 'straggler', workerId: 'w0' })
  const [straggler] = stragglers(run.state)
  expect(straggler?.factor).toBeCloseTo(1.5, 0)
  expect(straggler?.reason).toMatch(
    /^it takes 1\.[45]\d times as long as the median of the 2 others, for a sample and in all, over the last 20 steps$/,
  )
  run.run(20)
  expect(run.changes).toHaveLength(2)
  expect(run.changes[1]).toMatchObject({ change: 'straggler-gone', workerId: 'w0' })
  expect(run.changes[1]?.reason).toMatch(/takes \d\.\d\d times as long as the median/)
  expect(stragglers(run.state)).toEqual([])
})

const steady = (numSteps: number, computeMs: readonly number[], from: StragglerState = noSteps): StragglerState => {
  let state = from
  for (let step = 1; step <= numSteps; step++) {
    const members = computeMs.map((ms, i) => ({ workerId: `w${i}`, computeMs: ms, samples: 2 }))
    state = observeStep(state, { step, members }).state
  }
  return state
}

test('of two members the slower one is named, and no other can be', () => {
  const [only, ...more] = stragglers(steady(20, [100, 130]))
  expect(more).toEqual([])
  expect(only).toMatchObject({ workerId: 'w1', sinceStep: 20 })
  expect(only?.reason).toBe(
    'it takes 1.30 times as long as the only other member, for a sample and in all, over the last 20 steps',
  )
})

test('one member alone, and one without samples, is slow compared with nobody', () => {
  expect(stragglers(steady(30, [100]))).toEqual([])
  let state = noSteps
  for (let step = 1; step <= 30; step++) {
    const members = [
      { workerId: 'w0', computeMs: 10, samples: 4 },
      { workerId: 'w1', computeMs: 5, samples: 0 },
    ]
    state = observeStep(state, { step, members }).state
  }
  expect(stragglers(state)).toEqual([])
  expect(relativeSpeeds(state)).toEqual([{ workerId: 'w0', samplesPerSecond: expect.closeTo(400) as number, share: 1 }])
})

/** 30 steps in which each member takes `fixedMs`, and 10 ms for each of its samples; w0 times `factor`. */
function shares(samples: readonly number[], fixedMs: number, factor = 1): readonly string[] {
  let state = noSteps
  for (let step = 1; step <= 30; step++) {
    const members = samples.map((n, i) => {
      return { workerId: `w${i}`, samples: n, computeMs: (fixedMs + 10 * n) * (i === 0 ? factor : 1) }
    })
    state = observeStep(state, { step, members }).state
  }
  return stragglers(state).map(({ workerId }) => workerId)
}

test('unequal shares make nobody slow, whatever part of the time grows with them', () => {
  for (const fixedMs of [0, 10, 40, 1000]) expect(shares([2, 3, 3], fixedMs)).toEqual([])
  for (const fixedMs of [0, 10, 40, 1000]) expect(shares([3, 2, 2], fixedMs)).toEqual([])
  for (const fixedMs of [0, 10, 40, 1000]) expect(shares([3, 3, 3], fixedMs, 1.3)).toEqual(['w0'])
  expect(shares([2, 3, 3], 0, 1.3), 'nobody waits for it').toEqual([])
})

test('a straggler that leaves is named no more', () => {
  const slow = steady(30, [100, 100, 150])
  expect(stragglers(slow).map(({ workerId }) => workerId)).toEqual(['w2'])
  const members = [0, 1].map(i => ({ workerId: `w${i}`, computeMs: 100, samples: 3 }))
  const { state, changes } = observeStep(slow, { step: 31, members })
  expect(changes).toEqual([{ change: 'straggler-gone', workerId: 'w2', reason: 'it is no member any more' }])
  expect(stragglers(state)).toEqual([])
})

test('a straggler that has no sample in a step stays one, with what was known of it', () => {
  const slow = steady(30, [100, 100, 150])
  const members = [0, 1, 2].map(i => ({ workerId: `w${i}`, computeMs: 100, samples: i === 2 ? 0 : 3 }))
  const { state, changes } = observeStep(slow, { step: 31, members })
  expect(changes).toEqual([])
  expect(stragglers(state)).toEqual(stragglers(slow))
})

test('speeds are in samples a second, and their shares make all equally fast', () => {
  const state = steady(20, [100, 50, 200])
  const speeds = relativeSpeeds(state)
  expect(speeds.map(({ samplesPerSecond }) => samplesPerSecond)).toEqual([20, 40, 10].map(n => expect.closeTo(n)))
  expect(speeds.map(({ share }) => share)).toEqual([2 / 7, 4 / 7, 1 / 7].map(n => expect.closeTo(n)))
  expect(usualComputeMs(state, 'w2')).toBe(200)
  expect(usualComputeMs(state, 'w3')).toBeUndefined()
})

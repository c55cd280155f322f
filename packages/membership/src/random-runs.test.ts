import fc from 'fast-check'
import { fuzzRuns, useTestSeed } from '@skein/testkit'
import { describe, expect, test } from 'vitest'
import { worthwhile } from './measuring.ts'
import { leastWorkers } from './seating.ts'
import { equalShares, sharesBySpeed, slowestTime } from './shares.ts'
import { allButTheEnd, type Fault, faults, plan } from './simulated-faults.test.support.ts'
import { checkGoodEnd, checkRun, hasFailedAlone, lastStep } from './simulated-run-checks.test.support.ts'
import { configOf, SimulatedRun } from './simulated-run.test.support.ts'
import type { SimulatedWorker } from './simulated-worker.test.support.ts'
import type { MembershipConfig } from './state.ts'

// SKEIN_FUZZ_RUNS=100 plays a hundred times as many runs, SKEIN_SIM_MEMBERS=1000 the last one with so many members.
const seed = useTestSeed()
const numMany = Number(process.env['SKEIN_SIM_MEMBERS'] ?? 10_000)

/** All faults begin before, … */
const faultsEndMs = 6_000
/** … their longest is over, and whoever failed often is taken in again: so long a run may take. */
const limitMs = 150_000

/** A run to which all this happens. However many are gone by then, enough come later to finish it. */
function playRun(seed: number, given: Partial<MembershipConfig>, planned: readonly Fault[]): SimulatedRun {
  const run = new SimulatedRun(configOf(given), seed)
  run.coordinator.speedOf = () => 1 + run.random.nextInt(20)
  for (let i = 0; i < run.config.numWorkers; i++) run.start(`w${i}`)
  plan(run, planned)
  run.after(40_000, () => {
    if (!run.coordinator.hasEnded) for (let i = 0; i < leastWorkers(run.config); i++) run.start(`late${i}`)
  })
  run.play(limitMs)
  return run
}

/** Short ones end in the midst of the faults; in some there are spares, whole replicas or part of one. */
const aRun = (parts: number) =>
  fc
    .record({
      replicas: fc.integer({ min: 1, max: parts === 1 ? 6 : 3 }),
      least: fc.integer({ min: 1, max: 3 }),
      spares: fc.nat({ max: 2 }),
      more: fc.nat({ max: 2 }),
      /** Numbers of replicas that the batch is said to be divisible among. */
      possible: parts === 1 ? fc.constant(undefined) : fc.option(fc.subarray([1, 2, 3, 4]), { nil: undefined }),
      totalSteps: fc.constantFrom(1, 12, 40, 80),
      mirrorEvery: parts === 1 ? fc.constant(0) : fc.constantFrom(0, 2, 5),
      shares: parts === 1 ? fc.constantFrom('equal', 'measured') : fc.constant('equal'),
    })
    .map(({ shares, replicas: begun, least, spares, more, possible, totalSteps, mirrorEvery }) => {
      const numWorkers = begun * parts
      const minWorkers = Math.min(least, numWorkers)
      const fewest = leastWorkers({ parts, minWorkers, maxWorkers: numWorkers, replicas: undefined })
      const maxWorkers = Math.max(fewest, numWorkers - spares) + (parts === 1 ? 0 : more)
      // One replica can always be, and one number within the limits there is.
      const replicas = possible && [...new Set([1, ...possible, fewest / parts])].sort((a, b) => a - b)
      return { parts, replicas, shares, numWorkers, minWorkers, maxWorkers, totalSteps, mirrorEvery } as const
    })

describe('simulated runs', () => {
  test('undisturbed, all steps are made in one generation', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 6 }), (seed, numWorkers) => {
        const run = new SimulatedRun(configOf({ numWorkers }), seed)
        for (let i = 0; i < numWorkers; i++) run.start(`w${i}`)
        run.play(limitMs)
        checkRun(run)
        checkGoodEnd(run)
        expect(run.state.generation).toBe(1)
        expect(lastStep(run)).toBe(20)
        expect(run.workers.every(worker => worker.isDone)).toBe(true)
      }),
      { numRuns: fuzzRuns(50) },
    )
  })

  test('undisturbed, with members of any speeds, shares follow the speeds within one generation and every sample is taken once', () => {
    const aSpeed = fc.integer({ min: 1, max: 30 })
    fc.assert(
      fc.property(fc.nat(), fc.array(aSpeed, { minLength: 2, maxLength: 6 }), (seed, speeds) => {
        const run = new SimulatedRun(configOf({ numWorkers: speeds.length, totalSteps: 60, shares: 'measured' }), seed)
        run.coordinator.speedOf = workerId => speeds[Number(workerId.slice(1))] ?? 1
        for (let i = 0; i < speeds.length; i++) run.start(`w${i}`)
        run.play(limitMs)
        checkRun(run)
        checkGoodEnd(run)
        expect(run.state.generation).toBe(1)
        const before = equalShares(run.config.globalBatch, speeds.length)
        const best = sharesBySpeed(run.config.globalBatch, speeds)
        const isWorthIt = slowestTime(before, speeds) / slowestTime(best, speeds) >= worthwhile
        const changes = run.coordinator.log.filter(record => record.type === 'shares')
        expect(changes.map(({ shares }) => shares)).toEqual(isWorthIt ? [best] : [])
        // The last commit that counts was 20 steps after the start, and a member may be two steps beyond.
        expect(changes.map(({ fromStep }) => fromStep)).toEqual(isWorthIt ? [23] : [])
      }),
      { numRuns: fuzzRuns(100) },
    )
  })

  test('one that stands by goes after the commits of the others, and is never far behind when it takes the place of one who dies', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 2_000, max: 3_000 }), fc.nat({ max: 1 }), (seed, atMs, rank) => {
        const run = new SimulatedRun(configOf({ numWorkers: 3, maxWorkers: 2, totalSteps: 120 }), seed)
        for (let i = 0; i < 3; i++) run.start(`w${i}`)
        run.after(atMs, () => {
          const { members, committed } = run.state
          const [spare] = members.filter(member => member.rank === undefined)
          // What it has told is 0.3 s old at most (a transfer, the look and the transfer after it), some five steps; twenty and more are made.
          expect(committed.step - (spare?.holds[0]?.step ?? 0), 'steps behind').toBeLessThanOrEqual(10)
          run.kill(run.workers.find(worker => worker.rank === rank) as SimulatedWorker)
        })
        run.play(limitMs)
        checkRun(run)
        checkGoodEnd(run)
        expect(run.state.generation).toBe(2)
        expect(lastStep(run)).toBe(120)
      }),
      { numRuns: fuzzRuns(50) },
    )
  })

  test(`${numMany} members, of whom some die, stop or are cut off while the coordinator restarts, make all steps`, () => {
    const run = new SimulatedRun(configOf({ numWorkers: numMany, maxWorkers: numMany, totalSteps: 3 }), seed)
    for (let i = 0; i < numMany; i++) run.start(`w${i}`)
    const anyone = () => run.workers[run.random.nextInt(run.workers.length)] as SimulatedWorker
    // All are here and prepare or train then.
    const soonMs = () => 350 + run.random.nextInt(400)
    for (let i = 0; i < 4; i++) {
      run.after(soonMs(), () => run.kill(anyone()))
      run.after(soonMs(), () => run.stop(anyone(), 500 + run.random.nextInt(8_000)))
      run.after(soonMs(), () => run.cutOff(anyone(), i % 2 === 0))
      run.after(soonMs(), () => run.partition(anyone(), anyone(), 500, i % 2 === 0))
    }
    run.after(600, () => run.coordinator.restart(1_000))
    run.play(limitMs)
    checkRun(run)
    checkGoodEnd(run)
    expect(lastStep(run)).toBe(3)
  }, 120_000)
})

/** So many workers that are replaced or cut off, one after the other, that spares are sent from part to part and are taken in on the way. */
const aChurn = fc.array(
  fc.record({
    afterMs: fc.integer({ min: 20, max: 700 }),
    who: fc.nat(),
    kind: fc.constantFrom('kill', 'cut-off', 'come'),
  }),
  { minLength: 20, maxLength: 40 },
)

describe.each([1, 2, 3])('simulated runs of a model in %i parts', parts => {
  test('whoever dies, fails, lies, stops, is cut off, comes or goes, and however often the coordinator restarts: every step once, one end', () => {
    fc.assert(
      fc.property(fc.nat(), aRun(parts), faults(18, faultsEndMs, allButTheEnd), (seed, given, planned) => {
        const run = playRun(seed, given, planned)
        checkRun(run)
        if (hasFailedAlone(run)) return
        checkGoodEnd(run)
        expect(lastStep(run)).toBe(given.totalSteps)
      }),
      { numRuns: fuzzRuns(parts === 1 ? 300 : 200) },
    )
  })

  test('a stop in the midst of all that ends the run soon, with its last state on disk', () => {
    fc.assert(
      fc.property(
        fc.nat(),
        aRun(parts),
        faults(8, faultsEndMs, allButTheEnd),
        fc.nat({ max: faultsEndMs }),
        (seed, given, planned, atMs) => {
          const end: Fault = { atMs, kind: 'end-run', who: 0, other: 0, ms: 0 }
          const run = playRun(seed, given, [...planned, end])
          checkRun(run)
          if (!hasFailedAlone(run)) checkGoodEnd(run)
        },
      ),
      { numRuns: fuzzRuns(parts === 1 ? 200 : 100) },
    )
  })

  test('while workers come and go all the time nobody begins with what is not whole, or another part', () => {
    fc.assert(
      fc.property(fc.nat(), aChurn, (seed, churn) => {
        const least = 2 * parts
        const mirrorEvery = parts === 1 ? 0 : 3
        const given = {
          parts,
          mirrorEvery,
          numWorkers: least,
          minWorkers: parts,
          maxWorkers: 3 * parts,
          totalSteps: 300,
        }
        const run = new SimulatedRun(configOf(given), seed)
        for (let i = 0; i < least; i++) run.start(`w${i}`)
        let atMs = 800
        for (const [i, { afterMs, who, kind }] of churn.entries()) {
          atMs += afterMs
          run.after(atMs, () => {
            const living = run.workers.filter(worker => worker.isAlive)
            const one = living[who % living.length] as SimulatedWorker
            if (run.coordinator.hasEnded) return
            if (kind === 'cut-off') run.cutOff(one, true)
            // As many are left as there are without a spare.
            else if (kind === 'kill' && living.length > least - 1) run.kill(one)
            else run.start(`n${i}`)
          })
        }
        run.after(atMs + 2_000, () => {
          if (!run.coordinator.hasEnded) for (let i = 0; i < parts; i++) run.start(`late${i}`)
        })
        run.play(limitMs)
        checkRun(run)
        checkGoodEnd(run)
      }),
      { numRuns: fuzzRuns(parts === 1 ? 10 : 30) },
    )
  })
})

describe.each([2, 3])('simulated runs of a model in %i parts, mirrored in memory', parts => {
  test('whoever dies alone takes nothing along: the run goes back to what a neighbour keeps', () => {
    const aDeath = fc.record({ afterMs: fc.nat({ max: 3_000 }), rank: fc.nat({ max: parts - 1 }) })
    const given = { parts, numWorkers: parts, minWorkers: parts, maxWorkers: parts, totalSteps: 900 }
    const everyFew = fc.integer({ min: 1, max: 9 })
    const few = fc.array(aDeath, { minLength: 1, maxLength: 3 })
    let numBack = 0
    fc.assert(
      fc.property(fc.nat(), everyFew, few, (seed, mirrorEvery, deaths) => {
        const run = new SimulatedRun(configOf({ ...given, mirrorEvery }), seed)
        for (let i = 0; i < parts; i++) run.start(`w${i}`)
        for (const [i, { afterMs, rank }] of deaths.entries()) {
          // By then it has waited for the one before to come back, and has mirrored a step.
          run.after(3_000 + 17_000 * i + afterMs, () => {
            run.kill(run.workers.find(worker => worker.isAlive && worker.rank === rank) as SimulatedWorker)
            run.start(`n${i}`)
          })
        }
        run.play(limitMs)
        checkRun(run)
        checkGoodEnd(run)
        const starts = run.coordinator.log.flatMap(record => (record.type === 'generation' ? [record] : [])).slice(1)
        expect(starts.length).toBe(deaths.length)
        for (const { startStep } of starts) expect(startStep, 'never from the beginning').toBeGreaterThan(0)
        numBack += run.coordinator.numBackToMirror
      }),
      { numRuns: fuzzRuns(15) },
    )
    expect(numBack, 'times that a run went back').toBeGreaterThan(0)
  })
})

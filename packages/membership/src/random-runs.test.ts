import fc from 'fast-check'
import { fuzzRuns, useTestSeed } from '@skein/testkit'
import { describe, expect, test } from 'vitest'
import { batch, digestAfter } from './digest-oracle.test.support.ts'
import { configOf, SimulatedRun } from './simulated-run.test.support.ts'
import type { SimulatedWorker } from './simulated-worker.test.support.ts'

// SKEIN_FUZZ_RUNS=100 plays a hundred times as many runs, SKEIN_SIM_MEMBERS=10000 the last one with so many members.
const seed = useTestSeed()
const numMany = Number(process.env['SKEIN_SIM_MEMBERS'] ?? 500)

const hourMs = 3_600_000

/** What must hold of every log, whatever happened. */
function checkLog(run: SimulatedRun): void {
  expect(run.problems).toEqual([])
  let generation = 0
  let next = 1
  for (const record of run.log) {
    if (record.type === 'generation') {
      expect(record.generation, 'generations rise').toBeGreaterThan(generation)
      generation = record.generation
      if (record.startStep + 1 !== next) {
        const saved = run.log.some(other => other.type === 'checkpoint' && other.step === record.startStep)
        expect(record.startStep + 1, 'it only goes back').toBeLessThan(next)
        expect(saved || record.startStep === 0, `back to step ${record.startStep}, which is on disk`).toBe(true)
      }
      next = record.startStep + 1
    }
    if (record.type !== 'commit') continue
    expect(record.generation, 'no commit of a generation that is over').toBe(generation)
    expect(record.step, 'steps without gaps').toBe(next)
    expect([record.samplesFrom, record.samplesTo], 'each sample once').toEqual([(next - 1) * batch, next * batch])
    expect(record.digest, 'what one undisturbed worker would have').toBe(digestAfter(next))
    next++
  }
  expect(run.log.filter(record => record.type === 'ended').length).toBeLessThanOrEqual(1)
}

const lastStep = (run: SimulatedRun): number => {
  const commits = run.log.filter(record => record.type === 'commit')
  return commits.at(-1)?.step ?? 0
}

describe('simulated runs', () => {
  test('undisturbed, all steps are made in one generation', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 6 }), (seed, numWorkers) => {
        const run = new SimulatedRun(configOf({ numWorkers }), seed)
        for (let i = 0; i < numWorkers; i++) run.start(`w${i}`)
        run.play(hourMs)
        checkLog(run)
        expect(run.state.outcome?.status).toBe('finished')
        expect(run.state.generation).toBe(1)
        expect(lastStep(run)).toBe(20)
      }),
      { numRuns: fuzzRuns(50) },
    )
  })

  test('whoever dies, stops, is cut off, comes, goes or comes back, and however often the coordinator restarts: every step once, one end', () => {
    const faults = fc.array(
      fc.record({
        atMs: fc.nat({ max: 6_000 }),
        kind: fc.constantFrom('kill', 'replace', 'stop', 'cut', 'partition', 'come', 'leave', 'coordinator'),
        who: fc.nat(),
        other: fc.nat(),
        ms: fc.integer({ min: 50, max: 20_000 }),
      }),
      { maxLength: 12 },
    )
    fc.assert(
      fc.property(
        fc.nat(),
        fc.integer({ min: 2, max: 6 }),
        fc.integer({ min: 1, max: 2 }),
        faults,
        (seed, n, min, planned) => {
          const run = new SimulatedRun(configOf({ numWorkers: n, minWorkers: min, totalSteps: 40 }), seed)
          for (let i = 0; i < n; i++) run.start(`w${i}`)
          let came = n
          for (const fault of planned) {
            run.after(fault.atMs, () => {
              const pick = (i: number) => run.workers[i % run.workers.length] as SimulatedWorker
              const one = pick(fault.who)
              switch (fault.kind) {
                case 'kill':
                  run.kill(one)
                  break
                case 'replace':
                  if (one.isDead) break
                  run.kill(one)
                  run.start(one.workerId)
                  break
                case 'stop':
                  run.stop(one, fault.ms)
                  break
                case 'cut':
                  if (one.link !== undefined) run.breakLink(one.link, 'reset', false)
                  break
                case 'partition':
                  if (pick(fault.other) !== one) run.partition(one, pick(fault.other), fault.ms)
                  break
                case 'come':
                  run.start(`w${came++}`)
                  break
                case 'leave':
                  one.say({ type: 'left', reason: 'told to' })
                  break
                case 'coordinator':
                  run.restartCoordinator(fault.ms / 10)
                  break
              }
            })
          }
          // However many are dead or gone by then, enough come to finish.
          run.after(40_000, () => {
            for (let i = 0; i < 2; i++) run.start(`late${i}`)
          })
          run.play(hourMs)
          checkLog(run)
          expect(run.state.outcome?.status, run.state.outcome?.reason).toBe('finished')
          expect(lastStep(run)).toBe(40)
          // Nobody was put out for good: what is late is taken as late, and what is refused may come again.
          expect(run.workers.flatMap(worker => worker.refusal ?? [])).toEqual([])
        },
      ),
      { numRuns: fuzzRuns(300) },
    )
  })

  test('a stop at any moment ends all on one step', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat({ max: 3_000 }), (seed, atMs) => {
        const run = new SimulatedRun(configOf({ totalSteps: 30 }), seed)
        for (let i = 0; i < 4; i++) run.start(`w${i}`)
        run.after(atMs, () => run.request('test'))
        run.after(Math.floor(atMs / 2), () => run.kill(run.workers[seed % 4] as SimulatedWorker))
        run.play(hourMs)
        checkLog(run)
        const { outcome, committed } = run.state
        expect(outcome?.status).toBe(committed.step === 30 ? 'finished' : 'stopped')
        if (committed.step > 0) expect(run.state.checkpoint?.step).toBe(committed.step)
      }),
      { numRuns: fuzzRuns(100) },
    )
  })

  test(`${numMany} members, of whom some die, stop or are cut off while the coordinator restarts, make all steps`, () => {
    const run = new SimulatedRun(configOf({ numWorkers: numMany, maxWorkers: numMany, totalSteps: 6 }), seed)
    for (let i = 0; i < numMany; i++) run.start(`w${i}`)
    const anyone = () => run.workers[run.random.nextInt(run.workers.length)] as SimulatedWorker
    for (let i = 0; i < 12; i++) {
      run.after(run.random.nextInt(3_000), () => run.kill(anyone()))
      run.after(run.random.nextInt(3_000), () => run.stop(anyone(), 500 + run.random.nextInt(8_000)))
      run.after(run.random.nextInt(3_000), () => {
        const { link } = anyone()
        if (link !== undefined) run.breakLink(link, 'reset', false)
      })
    }
    run.after(1_500, () => run.restartCoordinator(1_000))
    run.play(hourMs)
    checkLog(run)
    expect(run.state.outcome?.status, run.state.outcome?.reason).toBe('finished')
    expect(lastStep(run)).toBe(6)
  }, 300_000)
})

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { mallocEnvironment } from '@skein/device'
import type { BareLoopOptions } from './bare-loop.ts'
import { type Bench, type BenchCase, median, range } from './bench-case.ts'
import { places } from './places.ts'
import { SteppingProcess } from './stepping-process.ts'

const rounds = 2
const warmUpSteps = 6
/** Turns of each side in a round. */
const turns = 14
/** Of one turn. The first was begun in the turn before, and does not count. */
const stepsOfTurn = 3
/** Of the job. One more than is taken: at its last it would evaluate. */
const steps = warmUpSteps + turns * stepsOfTurn + 1
/** Both sides compute the same; sums inside TensorFlow may be in another order from run to run. */
const maxLossDifference = 1e-3
const maxShareLost = 0.03

const bareLoop = fileURLToPath(new URL('bare-loop.js', import.meta.url))

/**
 * What a run with one worker costs over the bare training loop: processes, comm thread, digest, votes, commits, logs. Both train side by side and
 * take turns of a few steps, the other one stopped meanwhile: on a shared machine runs one after the other differ by more than what is to
 * be measured. ratio = bare / ours, the median of the turns'.
 */
export const orchestration: Bench = {
  name: 'orchestration',
  about: `A step of the shipped GPT job (global batch 32 in microbatches of 8) with one worker against the same loop without worker, coordinator and digests; both take turns of ${stepsOfTurn} steps, the other one stopped meanwhile, after ${warmUpSteps} steps of warm-up; ratio = bare / ours, 1 - ratio is the share of the step lost.`,
  async run(report) {
    const bare: number[] = []
    const inside: number[] = []
    const between: number[] = []
    for (let round = 0; round < rounds; round++) {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'skein-bench-'))
      try {
        await using bareSide = startBare(folder)
        await bareSide.untilSteps(warmUpSteps)
        bareSide.stop()
        await using ourSide = startOurs(folder)
        await ourSide.untilSteps(warmUpSteps)
        ourSide.stop()
        for (let turn = 0; turn < turns; turn++) {
          const sides = (round + turn) % 2 === 0 ? [bareSide, ourSide] : [ourSide, bareSide]
          for (const side of sides) await takeTurn(side)
          bare.push(betweenMs(bareSide))
          between.push(betweenMs(ourSide))
          inside.push(median(ourSide.steps.slice(1 - stepsOfTurn).map(({ line }) => line['stepMs'] as number)))
        }
        const difference = Math.abs(lossOf(bareSide) - lossOf(ourSide))
        if (!(difference <= maxLossDifference)) {
          throw new Error(`after ${steps - 1} steps the losses differ by ${difference}: not the same training`)
        }
      } finally {
        fs.rmSync(folder, { recursive: true, force: true })
      }
      report(
        `round ${round + 1}: bare ${median(bare).toFixed(1)} ms, in the step ${median(inside).toFixed(1)} ms, step to step ${median(between).toFixed(1)} ms`,
      )
    }
    return [oneCase('in the step', inside, bare), oneCase('step to step', between, bare)]
  },
}

async function takeTurn(side: SteppingProcess): Promise<void> {
  const numSteps = side.steps.length + stepsOfTurn
  side.goOn()
  await side.untilSteps(numSteps)
  side.stop()
}

/** Mean time from one step to the next, of those that began in the last turn. */
function betweenMs({ steps }: SteppingProcess): number {
  const [first, last] = [steps.at(-stepsOfTurn), steps.at(-1)]
  return ((last?.atMs ?? Number.NaN) - (first?.atMs ?? Number.NaN)) / (stepsOfTurn - 1)
}

const lossOf = ({ steps }: SteppingProcess) => Number(steps.at(-1)?.line['loss'])

/** The same environment as `skein train` gives its workers, and as many threads as its only worker gets. */
function startBare(folder: string): SteppingProcess {
  const options: BareLoopOptions = { jobFile: places.gptJob, steps, threads: os.availableParallelism() }
  const mark = path.join(folder, 'bare')
  return new SteppingProcess({
    name: 'the bare loop',
    args: [bareLoop, JSON.stringify(options), mark],
    env: mallocEnvironment,
    isStep: line => 'step' in line,
    mark,
  })
}

function startOurs(folder: string): SteppingProcess {
  const runDir = path.join(folder, 'run')
  return new SteppingProcess({
    name: 'skein train',
    args: [
      places.cli,
      'train',
      places.gptJob,
      '--workers',
      '1',
      '--steps',
      String(steps),
      '--run-dir',
      runDir,
      '--json',
    ],
    isStep: line => line['event'] === 'step',
    mark: runDir,
  })
}

function oneCase(name: string, ours: readonly number[], bare: readonly number[]): BenchCase {
  const ratios = ours.map((ms, turn) => (bare[turn] ?? Number.NaN) / ms)
  return {
    bench: 'orchestration',
    case: name,
    unit: 'ms',
    ours: median(ours),
    peer: { name: 'bare loop', value: median(bare) },
    floor: null,
    ratio: median(ratios),
    samples: ours,
    spread: range(ratios),
    goal: `at most ${100 * maxShareLost} % lost (ratio ≥ ${1 - maxShareLost})`,
  }
}

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { mallocEnvironment } from '@skein/device'
import type { BareLoopAnswer, BareLoopOptions } from './bare-loop.ts'
import { type Bench, type BenchCase, median, range } from './bench-case.ts'
import { places } from './places.ts'
import { runJsonLines } from './run-command.ts'

/** Many short rounds: both sides of a pair run within half a minute, before the machine has become another one. */
const rounds = 8
const steps = 16
const warmUpSteps = 4
const timeoutMs = 300_000
/** Both sides compute the same; sums inside TensorFlow may be in another order from run to run. */
const maxLossDifference = 1e-4
const maxShareLost = 0.03

const bareLoop = fileURLToPath(new URL('bare-loop.js', import.meta.url))

/**
 * What a run with one worker costs over the bare training loop: processes, comm thread, digest, votes, commits, logs. Each round
 * runs both, one after the other and the other way round the next time; ratio = bare / ours, the median of the rounds'.
 */
export const orchestration: Bench = {
  name: 'orchestration',
  about: `A step of the shipped GPT job (global batch 32 in microbatches of 8) with one worker against the same loop without worker, coordinator and digests, steps ${warmUpSteps + 1} to ${steps} of each run; ratio = bare / ours, 1 - ratio is the share of the step lost.`,
  async run(report) {
    const bare: number[] = []
    const inside: number[] = []
    const between: number[] = []
    for (let round = 0; round < rounds; round++) {
      const turns = [bareRun, skeinRun] as const
      let bareSide: SideResult | undefined
      let ours: RunResult | undefined
      for (const turn of round % 2 === 0 ? turns : turns.toReversed()) {
        if (turn === bareRun) bareSide = await bareRun()
        else ours = await skeinRun()
      }
      if (bareSide === undefined || ours === undefined) throw new Error('a side of the round did not run')
      const difference = Math.abs(bareSide.lastLoss - ours.lastLoss)
      if (!(difference <= maxLossDifference)) {
        throw new Error(
          `after ${steps} steps the run's loss is ${ours.lastLoss}, the bare loop's ${bareSide.lastLoss}: not the same training`,
        )
      }
      bare.push(bareSide.betweenMs)
      inside.push(ours.insideMs)
      between.push(ours.betweenMs)
      report(
        `round ${round + 1}: bare ${bareSide.betweenMs.toFixed(1)} ms, in the step ${ours.insideMs.toFixed(1)} ms, step to step ${ours.betweenMs.toFixed(1)} ms`,
      )
    }
    return [oneCase('in the step', inside, bare), oneCase('step to step', between, bare)]
  },
}

function oneCase(name: string, ours: readonly number[], bare: readonly number[]): BenchCase {
  const ratios = ours.map((ms, round) => (bare[round] ?? Number.NaN) / ms)
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

interface SideResult {
  /** Median time from the end of one step to the end of the next. */
  readonly betweenMs: number
  readonly lastLoss: number
}

interface RunResult extends SideResult {
  /** Median of the events' stepMs: what the worker counts as its step. */
  readonly insideMs: number
}

/** The same environment as `skein train` gives its workers, and as many threads as its only worker gets. */
async function bareRun(): Promise<SideResult> {
  const options: BareLoopOptions = { jobFile: places.gptJob, steps, threads: os.availableParallelism() }
  let answer: BareLoopAnswer | undefined
  await runJsonLines(process.execPath, {
    args: [bareLoop, JSON.stringify(options)],
    env: mallocEnvironment,
    timeoutMs,
    onLine: line => {
      answer = line as unknown as BareLoopAnswer
    },
  })
  if (answer === undefined) throw new Error('the bare loop ended without an answer')
  return { betweenMs: median(answer.stepMs.slice(warmUpSteps)), lastLoss: answer.losses.at(-1) ?? Number.NaN }
}

async function skeinRun(): Promise<RunResult> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'skein-bench-'))
  const insideMs: number[] = []
  const atMs: number[] = []
  let lastLoss = Number.NaN
  try {
    await runJsonLines(process.execPath, {
      args: [
        places.cli,
        'train',
        places.gptJob,
        '--workers',
        '1',
        '--steps',
        String(steps),
        '--run-dir',
        folder,
        '--json',
      ],
      timeoutMs,
      onLine: (line, cameAtMs) => {
        if (line['event'] !== 'step') return
        insideMs.push(line['stepMs'] as number)
        atMs.push(cameAtMs)
        lastLoss = line['loss'] as number
      },
    })
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
  if (insideMs.length !== steps) throw new Error(`the run committed ${insideMs.length} of ${steps} steps`)
  const betweenMs = atMs.slice(warmUpSteps).map((at, i) => at - (atMs[warmUpSteps + i - 1] as number))
  return { insideMs: median(insideMs.slice(warmUpSteps)), betweenMs: median(betweenMs), lastLoss }
}

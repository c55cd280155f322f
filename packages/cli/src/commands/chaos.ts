import { randomBytes } from 'node:crypto'
import os from 'node:os'
import path from 'node:path'
import { SkeinError } from '@skein/core'
import { mallocEnvironment } from '@skein/device'
import { checkLog } from '../chaos/check-log.ts'
import { ChaosRun } from '../chaos/chaos-run.ts'
import { drawFaults, type Fault, parseFaults } from '../chaos/faults.ts'
import { CliErrors } from '../errors.ts'
import { threadsPerWorker } from '../launch/launch-local.ts'
import { loadForRun } from '../load-for-run.ts'
import type { RunEvent } from '../run-event.ts'

export interface ChaosCommandOptions {
  readonly jobFile: string
  readonly workers?: number
  readonly steps?: number
  readonly seed: number
  readonly count: number
  /** Instead of drawn ones. */
  readonly faults?: string
  readonly runDir?: string
  /** Seconds. */
  readonly timeout: number
  readonly json: boolean
}

/** What a run under faults has shown. */
interface ChaosReport {
  readonly event: 'chaos'
  readonly seed: number
  readonly faults: readonly {
    readonly kind: string
    readonly target: string
    readonly atStep: number
    readonly forMs: number
  }[]
  readonly steps: number
  readonly generations: number
  readonly lostSamples: number
  readonly repeatedSamples: number
  readonly digestsEqual: boolean
  /** The longest time between two committed steps. */
  readonly longestStallMs: number
  readonly problems: readonly string[]
  readonly runDir: string
  readonly verdict: 'passed' | 'failed'
}

/**
 * `skein chaos`: the job on this machine while faults are done to it, by seed or as told, then the proof from its log. Status: 0 passed, 1 not.
 */
export async function chaos(options: ChaosCommandOptions): Promise<number> {
  const { seed, json, workers, steps, runDir } = options
  const run = await loadForRun(options.jobFile, {
    ...(workers === undefined ? {} : { workers }),
    ...(steps === undefined ? {} : { steps }),
    ...(runDir === undefined ? {} : { runDir }),
  })
  const faults =
    options.faults === undefined ? drawFaults(seed, options.count, run.job.steps) : faultsOf(options.faults)
  const say = (event: RunEvent | ChaosReport | FaultEvent, text: string) =>
    process.stdout.write(`${json ? JSON.stringify(event) : text}\n`)
  const done: ChaosReport['faults'][number][] = []
  let lastStepMs: number | undefined
  let longestStallMs = 0
  const chaosRun = new ChaosRun({
    jobFile: run.jobFile,
    workers: run.numWorkers,
    steps: run.job.steps,
    runDir: run.runDir,
    token: randomBytes(24).toString('base64url'),
    threads: threadsPerWorker(os.availableParallelism(), run.numWorkers),
    env: { ...mallocEnvironment, ...process.env },
    faults,
    timeoutMs: options.timeout * 1_000,
    onFault(fault: Fault, target: string) {
      const { kind, atStep, forMs } = fault
      done.push({ kind, target, atStep, forMs })
      say({ event: 'fault', kind, target, atStep, forMs }, `step ${atStep}: ${kind} ${target} (${forMs} ms)`)
    },
    onEvent(event) {
      if (event.event === 'step') {
        const nowMs = performance.now()
        longestStallMs = Math.max(longestStallMs, nowMs - (lastStepMs ?? nowMs))
        lastStepMs = nowMs
      }
      if (json) say(event, '')
    },
  })
  const last = await chaosRun.play()
  const report = await reportOf({ run, seed, done, longestStallMs, last })
  const how = report.verdict === 'passed' ? 'passed' : `FAILED: ${report.problems.join('; ')}`
  say(
    report,
    `${how}\n  ${done.length} faults, ${report.steps} steps in ${report.generations} generations, longest stall ${(longestStallMs / 1000).toFixed(1)} s\n  the log is in ${run.runDir}; --seed ${seed} draws the same faults`,
  )
  return report.verdict === 'passed' ? 0 : 1
}

interface FaultEvent {
  readonly event: 'fault'
  readonly kind: string
  readonly target: string
  readonly atStep: number
  readonly forMs: number
}

async function reportOf(facts: {
  readonly run: Awaited<ReturnType<typeof loadForRun>>
  readonly seed: number
  readonly done: ChaosReport['faults']
  readonly longestStallMs: number
  readonly last: RunEvent
}): Promise<ChaosReport> {
  const { run, seed, done, longestStallMs, last } = facts
  const { Store } = await import('@skein/coordinator')
  const store = new Store(path.join(run.runDir, 'coordinator.sqlite'))
  try {
    const generations = store.generations()
    const { problems, ...found } = checkLog(store.commits(), generations, run.job.batch.global)
    const isWhole = last.event === 'done' && Number(last['steps']) === run.job.steps
    const all = [...problems, ...(isWhole ? [] : [`the run ended with ${JSON.stringify(last)}`])]
    return {
      event: 'chaos',
      seed,
      faults: done,
      steps: Number(last['steps'] ?? 0),
      generations: generations.length,
      ...found,
      longestStallMs,
      problems: all,
      runDir: run.runDir,
      verdict: all.length === 0 ? 'passed' : 'failed',
    }
  } finally {
    store.close()
  }
}

function faultsOf(text: string): ReturnType<typeof parseFaults> {
  try {
    return parseFaults(text)
  } catch (cause) {
    throw new SkeinError(CliErrors.USAGE, {
      what: cause instanceof Error ? cause.message : String(cause),
      todo: 'for example: --faults kill:w1@10,coordinator@20,stop@30:6000',
      cause,
    })
  }
}

import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { SkeinError } from '@skein/core'
import { mallocEnvironment } from '@skein/device'
import { checkCheckpoints, type CheckpointNews } from '../chaos/check-checkpoints.ts'
import { checkLog } from '../chaos/check-log.ts'
import { ChaosRun } from '../chaos/chaos-run.ts'
import { checkTimes, type FaultTime, type StepTime } from '../chaos/check-times.ts'
import { drawFaults, type Fault, needsCheckpoints, parseFaults, parseScript } from '../chaos/faults.ts'
import type { ResolvedJob } from '@skein/job'
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
  /** A JSON file of faults, instead of both. */
  readonly script?: string
  readonly runDir?: string
  /** Seconds. */
  readonly timeout: number
  readonly json: boolean
  readonly signal: AbortSignal
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
  const { seed, json, workers, runDir } = options
  const run = await loadForRun(options.jobFile, {
    ...(workers === undefined ? {} : { workers }),
    ...(options.steps === undefined ? {} : { steps: options.steps }),
    ...(runDir === undefined ? {} : { runDir }),
  })
  const faults = faultsOf(options, run.job.steps)
  const say = (event: RunEvent | ChaosReport | FaultEvent, text: string) =>
    process.stdout.write(`${json ? JSON.stringify(event) : text}\n`)
  const done: ChaosReport['faults'][number][] = []
  const steps: StepTime[] = []
  const news: CheckpointNews[] = []
  const broken: string[] = []
  const times = new Map<Fault, FaultTime>()
  const chaosRun = new ChaosRun({
    jobFile: run.jobFile,
    workers: run.numWorkers,
    steps: run.job.steps,
    ...(faults.some(needsCheckpoints) ? { checkpointEvery: oftenEnough(run.job) } : {}),
    runDir: run.runDir,
    token: randomBytes(24).toString('base64url'),
    threads: threadsPerWorker(os.availableParallelism(), run.numWorkers),
    env: { ...mallocEnvironment, ...process.env },
    seed,
    faults,
    timeoutMs: options.timeout * 1_000,
    signal: options.signal,
    onFault(fault: Fault, target: string) {
      const { kind, atStep, forMs } = fault
      times.set(fault, { kind, fromMs: performance.now(), untilMs: Number.POSITIVE_INFINITY })
      done.push({ kind, target, atStep, forMs })
      say({ event: 'fault', kind, target, atStep, forMs }, `step ${atStep}: ${kind} ${target} (${forMs} ms)`)
    },
    onOver(fault) {
      const time = times.get(fault)
      if (time !== undefined) times.set(fault, { ...time, untilMs: performance.now() })
    },
    onProblem: problem => broken.push(problem),
    onEvent(event) {
      const { event: kind } = event
      if (kind === 'checkpoint-failed' || kind === 'checkpoint-skipped') {
        news.push({ event: kind, atMs: performance.now(), text: String(event['what'] ?? event['reason']) })
      }
      if (event.event === 'step') steps.push({ step: Number(event['step']), atMs: performance.now() })
      if (json) say(event, '')
    },
  })
  const last = await chaosRun.play()
  const missed = faults.filter(fault => (fault.place !== undefined || needsCheckpoints(fault)) && !times.has(fault))
  const faultTimes = [...times.values()]
  const found = [...broken, ...checkCheckpoints(news, faultTimes), ...checkTimes(steps, faultTimes)]
  const longestStallMs = Math.max(0, ...steps.map(({ atMs }, i) => atMs - (steps[i - 1]?.atMs ?? atMs)))
  const report = await reportOf({ run, seed, done, found: [...missed.map(neverDone), ...found], longestStallMs, last })
  const how = report.verdict === 'passed' ? 'passed' : `FAILED: ${report.problems.join('; ')}`
  say(
    report,
    `${how}\n  ${done.length} faults, ${report.steps} steps in ${report.generations} generations, longest stall ${(longestStallMs / 1000).toFixed(1)} s\n  the log is in ${run.runDir}; --seed ${seed} draws the same faults`,
  )
  return report.verdict === 'passed' ? 0 : 1
}

function neverDone({ kind, atStep, place }: Fault): string {
  const why = place === undefined ? 'there were no two checkpoints' : `no frame with ${JSON.stringify(place)} came by`
  return `${kind} after step ${atStep} was never done: ${why}`
}

/** Steps between checkpoints where faults are done to them: many in a run. */
function oftenEnough({ steps, checkpoint }: ResolvedJob): number {
  const every = Math.max(1, Math.floor(steps / 20))
  return checkpoint.every === 0 ? every : Math.min(every, checkpoint.every)
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
  /** What is wrong beside the log: waits beyond their bounds, checkpoints, faults that never came to be. */
  readonly found: readonly string[]
  readonly longestStallMs: number
  readonly last: RunEvent
}): Promise<ChaosReport> {
  const { run, seed, done, longestStallMs, last } = facts
  const { SqliteLog } = await import('@skein/coordinator')
  const log = new SqliteLog(path.join(run.runDir, 'coordinator.sqlite'))
  try {
    const { generations, commits, divisions } = log.read()
    const { problems, ...proven } = checkLog(commits, generations, divisions, run.job.batch.global)
    const isWhole = last.event === 'done' && Number(last['steps']) === run.job.steps
    const all = [...problems, ...facts.found, ...(isWhole ? [] : [`the run ended with ${JSON.stringify(last)}`])]
    return {
      event: 'chaos',
      seed,
      faults: done,
      steps: Number(last['steps'] ?? 0),
      generations: generations.length,
      ...proven,
      longestStallMs,
      problems: all,
      runDir: run.runDir,
      verdict: all.length === 0 ? 'passed' : 'failed',
    }
  } finally {
    log.close()
  }
}

function faultsOf({ faults, script, seed, count }: ChaosCommandOptions, steps: number): readonly Fault[] {
  try {
    if (script !== undefined) return parseScript(fs.readFileSync(script, 'utf8'))
    return faults === undefined ? drawFaults(seed, count, steps) : parseFaults(faults)
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause)
    throw new SkeinError(CliErrors.USAGE, {
      what: script === undefined ? text : `${script}: ${text}`,
      todo:
        script === undefined
          ? 'for example: --faults kill:w1@10,coordinator@20,stop@30:6000'
          : 'for example: [{ "kind": "kill", "rank": 2, "step": 5, "op": 0, "chunk": 3 }]',
      cause,
    })
  }
}

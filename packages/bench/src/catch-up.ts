import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { setTimeout as pause } from 'node:timers/promises'
import { Cluster } from 'skein/chaos'
import { type Bench, type BenchCase, median, range } from './bench-case.ts'

const rounds = 3
const stepsOfPhase = 20
const warmUpSteps = 10
const maxSlowdown = 1.1
const token = 'a-token-of-the-bench'
const job = fileURLToPath(new URL('paced.job.js', import.meta.url))

/**
 * What a newcomer costs those who train while it catches up. It is kept catching up: the run has all the members it may have, so the third worker
 * follows every step and is never taken in.
 */
export const catchUp: Bench = {
  name: 'catch-up',
  about: `Steps of two paced workers (100 ms of compute, 2.6 M parameters, 31 MB of state) while a third one gets the state and follows every step, against the ${stepsOfPhase} steps before it came, in ${rounds} rounds; ms between commits. ratio = without / with, at least ${(1 / maxSlowdown).toFixed(2)} is asked. "starting" is the time before it has model and data: a third process on these cores, not catching up.`,
  async run(report) {
    return measure(report)
  },
}

async function measure(report: (line: string) => void): Promise<readonly BenchCase[]> {
  const runDir = fs.mkdtempSync(path.join(os.tmpdir(), 'skein-bench-'))
  const commits: number[] = []
  await using cluster = await Cluster.start({
    jobFile: job,
    workers: 2,
    steps: 100_000,
    runDir,
    token,
    threads: 1,
    env: process.env,
    onEvent: event => {
      if (event.event === 'step') commits.push(performance.now())
    },
  })
  try {
    const without: number[] = []
    const starting: number[] = []
    const following: number[] = []
    await reach(commits, warmUpSteps)
    for (let round = 0; round < rounds; round++) {
      const alone = await phase(commits)
      const spare = await cluster.startWorker('w2')
      const isHere = async () => (await stepOf(cluster, 'w2')) !== null
      const since = commits.length
      while (!(await isHere())) await pause(100)
      const loading = between(commits.slice(since))
      const beside = await phase(commits)
      const held = await stepOf(cluster, 'w2')
      if (held === null || held < commits.length - 20)
        throw new Error(`the third worker holds step ${held} of ${commits.length}`)
      await spare.stop(5_000)
      without.push(alone)
      starting.push(loading)
      following.push(beside)
      report(
        `round ${round + 1}: ${alone.toFixed(1)} ms alone, ${loading.toFixed(1)} while it starts, ${beside.toFixed(1)} while it follows`,
      )
    }
    const one = (what: string, ours: readonly number[], goal: string): BenchCase => ({
      bench: 'catch-up',
      case: what,
      unit: 'ms',
      ours: median(ours),
      peer: { name: 'without', value: median(without) },
      floor: null,
      ratio: median(without.map((ms, i) => ms / (ours[i] ?? Number.NaN))),
      samples: ours,
      spread: range(without.map((ms, i) => ms / (ours[i] ?? Number.NaN))),
      goal,
    })
    return [
      one('following', following, `at most ${maxSlowdown} times as long (ratio ≥ ${(1 / maxSlowdown).toFixed(2)})`),
      one('starting', starting, 'none: a process that starts, for comparison'),
    ]
  } finally {
    fs.rmSync(runDir, { recursive: true, force: true })
  }
}

/** Median time between the next commits. */
async function phase(commits: readonly number[]): Promise<number> {
  const from = commits.length
  await reach(commits, from + stepsOfPhase)
  return between(commits.slice(from))
}

const between = (times: readonly number[]): number =>
  median(times.slice(1).map((at, i) => at - (times[i] ?? Number.NaN)))

async function reach(commits: readonly number[], count: number): Promise<void> {
  const deadlineMs = performance.now() + 120_000
  while (commits.length < count) {
    if (performance.now() > deadlineMs) throw new Error(`only ${commits.length} steps after two minutes`)
    await pause(20)
  }
}

/** The step whose state a worker that waits holds. */
async function stepOf(cluster: Cluster, workerId: string): Promise<number | null> {
  const response = await fetch(`${cluster.url}/status`, { headers: { authorization: `Bearer ${token}` } })
  const { members } = (await response.json()) as {
    readonly members: readonly { readonly workerId: string; readonly step: number | null }[]
  }
  return members.find(member => member.workerId === workerId)?.step ?? null
}

import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { type Bench, type BenchCase, median, range } from './bench-case.ts'
import { places } from './places.ts'
import { runJsonLines } from './run-command.ts'

const workers = 4
const rounds = 8
const peerRounds = 3
const warmUpSteps = 8
/** After the kill; and until the peer has run. */
const timeoutMs = 120_000
const goalMs = 200

const peerScript = path.join(places.root, 'packages/bench/peers/recovery_torchft.py')

/**
 * Stall of the survivors when one of four workers is killed at a random point of a step: from the kill to the commit of the next step, less
 * that step's own time. Everything at its default settings. The peer is torchft on its own script.
 */
export function recoveryBench({ python }: { readonly python?: string }): Bench {
  return {
    name: 'recovery',
    about: `SIGKILL of one of ${workers} workers of a small GPT at a random point of a step: ms from the kill to the next committed step, less the time of that step itself (its slowest worker's). The peer is torchft (three replica groups over Gloo, steps of 50 ms, heartbeat timeout 1 s): its longest step after the kill less its median step. ratio = ${goalMs} / ours.`,
    async run(report) {
      const samples: number[] = []
      for (let round = 0; round < rounds; round++) {
        const stallMs = await oneKill(round)
        samples.push(stallMs)
        report(`round ${round + 1}: ${stallMs.toFixed(0)} ms`)
      }
      const peer = python === undefined ? undefined : await torchftStalls(python, report)
      const ours = median(samples)
      const theirs = peer === undefined ? null : { name: 'torchft', value: median(peer) }
      const one: BenchCase = {
        bench: 'recovery',
        case: `${workers} workers, one killed`,
        unit: 'ms',
        ours,
        peer: theirs,
        floor: 0,
        ratio: goalMs / ours,
        samples,
        spread: range(samples.map(ms => goalMs / ms)),
        goal: `within ${goalMs} ms (ratio ≥ 1)`,
      }
      return [one]
    },
  }
}

/** Steps of some hundred ms, whose samples three workers can share in whole microbatches as four do. */
function jobFile(folder: string): string {
  const text = path.dirname(createRequire(import.meta.url).resolve('@types/node/package.json'))
  const file = path.join(folder, 'recovery.job.yaml')
  const job = {
    model: { kind: 'gpt2', layers: 4, width: 128, heads: 4, context: 64 },
    data: { kind: 'text', paths: [text], include: ['*.d.ts'], exclude: [] },
    batch: { global: 24, micro: 2 },
    mesh: { dp: workers },
    steps: 100_000,
    eval: { every: 0, samples: 16 },
    checkpoint: { every: 0 },
  }
  // JSON is YAML.
  fs.writeFileSync(file, JSON.stringify(job))
  return file
}

async function oneKill(round: number): Promise<number> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'skein-bench-'))
  const runDir = path.join(folder, 'run')
  const ended = new AbortController()
  const stepMs: number[] = []
  let killedMs: number | undefined
  let stallMs = Number.NaN
  const kill = async (startedMs: number) => {
    // A worker other than the launcher's first, in turn; anywhere within a step.
    const pid = await pidOf(runDir, `w${round % workers}`)
    await new Promise(resolve => setTimeout(resolve, Math.random() * median(stepMs)))
    killedMs = performance.now() - startedMs
    process.kill(pid, 'SIGKILL')
  }
  const startedMs = performance.now()
  try {
    await runJsonLines(process.execPath, {
      args: [places.cli, 'train', jobFile(folder), '--workers', String(workers), '--run-dir', runDir, '--json'],
      timeoutMs,
      signal: ended.signal,
      onLine: (line, atMs) => {
        if (line['event'] !== 'step') return
        stepMs.push(line['stepMs'] as number)
        if (stepMs.length === warmUpSteps) void kill(startedMs)
        if (line['generation'] === 1 || killedMs === undefined || ended.signal.aborted) return
        stallMs = atMs - killedMs - (line['stepMs'] as number)
        ended.abort()
      },
    })
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
  if (!Number.isFinite(stallMs)) throw new Error('the run ended without a step after the kill')
  return stallMs
}

async function pidOf(runDir: string, workerId: string): Promise<number> {
  let pid: number | undefined
  await runJsonLines(process.execPath, {
    args: [places.cli, 'status', runDir, '--json'],
    timeoutMs: 20_000,
    onLine: line => {
      const members = line['members'] as readonly { readonly workerId: string; readonly pid: number }[]
      pid = members.find(member => member.workerId === workerId)?.pid
    },
  })
  if (pid === undefined) throw new Error(`the run has no worker ${workerId}`)
  return pid
}

async function torchftStalls(python: string, report: (line: string) => void): Promise<readonly number[] | undefined> {
  let stalls: readonly number[] | undefined
  try {
    await runJsonLines(python, {
      args: [peerScript, String(peerRounds)],
      timeoutMs: 5 * timeoutMs,
      onLine: line => {
        stalls = line['stallMs'] as readonly number[]
      },
    })
  } catch (error) {
    report(`no torchft to compare with: ${error instanceof Error ? error.message : String(error)}`)
  }
  return stalls
}

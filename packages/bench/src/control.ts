import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { AskedProcess } from './asked-process.ts'
import { type Bench, type BenchCase, median, range } from './bench-case.ts'
import { runJsonLines } from './run-command.ts'

const numClients = 1_000
const clientProcesses = 2
const joinRounds = 3
const joinGoalMs = 5_000
const stepMs = 50
const steps = 100
const stepRounds = 5
const clientProgram = fileURLToPath(new URL('control-clients.js', import.meta.url))
const token = 'a-token-of-the-bench'

/** What the control plane costs: a thousand members joining, memory and CPU of the coordinator, and commits in the rhythm of short steps. */
export const control: Bench = {
  name: 'control',
  about: `Light clients on real control links to a real coordinator process. Join: ms until ${numClients} are members; ratio = ${joinGoalMs} / ours. Commit: what votes, durable commit records and heartbeats of 4 workers add to a step of ${stepMs} ms, in % of it; the floor is the same timer without them; ratio = 2 % / ours.`,
  async run(report) {
    return [await joinCase(report), await commitCase(report)]
  },
}

async function joinCase(report: (line: string) => void): Promise<BenchCase> {
  const samples: number[] = []
  const bytes: number[] = []
  const cpuShares: number[] = []
  for (let round = 0; round < joinRounds; round++) {
    await withCoordinator(numClients + 1, 10, async ({ url, pid }) => {
      const processes = await Promise.all(Array.from({ length: clientProcesses }, startClients))
      const before = resourcesOf(pid)
      const count = numClients / clientProcesses
      const joined = await Promise.all(
        processes.map((one, i) =>
          one.ask<{ joinedMs: number }>(JSON.stringify({ url, token, from: i * count, count })),
        ),
      )
      samples.push(Math.max(...joined.map(({ joinedMs }) => joinedMs)))
      const after = resourcesOf(pid)
      bytes.push((after.rssBytes - before.rssBytes) / numClients)
      await new Promise(resolve => setTimeout(resolve, 5_000))
      // Ten beats a member have come and gone: pings of both sides.
      cpuShares.push((resourcesOf(pid).cpuMs - after.cpuMs) / 5_000 / numClients)
      await Promise.all(processes.map(one => one.end()))
      report(
        `${numClients} joined in ${samples.at(-1)?.toFixed(0)} ms; ${(median(bytes) / 1024).toFixed(0)} KiB and ${(1e6 * median(cpuShares)).toFixed(0)} ppm of a core for each`,
      )
    })
  }
  const ours = median(samples)
  return {
    bench: 'control',
    case: `${numClients} members join (${(median(bytes) / 1024).toFixed(0)} KiB, ${(1e6 * median(cpuShares)).toFixed(0)} ppm of a core for each)`,
    unit: 'ms',
    ours,
    peer: null,
    floor: null,
    ratio: joinGoalMs / ours,
    samples,
    spread: range(samples.map(ms => joinGoalMs / ms)),
    goal: `within ${joinGoalMs} ms on two cores (ratio ≥ 1)`,
  }
}

async function commitCase(report: (line: string) => void): Promise<BenchCase> {
  const samples: number[] = []
  for (let round = 0; round < stepRounds; round++) {
    await withCoordinator(4, steps, async ({ url }) => {
      const clients = await startClients()
      await clients.ask(JSON.stringify({ url, token, from: 0, count: 4 }))
      const { waitedMs } = await clients.ask<{ waitedMs: number }>(JSON.stringify({ steps, stepMs }))
      samples.push((100 * waitedMs) / (steps * stepMs))
      await clients.end()
    })
    report(`round ${round + 1}: ${samples.at(-1)?.toFixed(3)} % of the step`)
  }
  const ours = median(samples)
  return {
    bench: 'control',
    case: `commit of a ${stepMs} ms step, 4 workers`,
    unit: '% of the step waited for the commit before',
    ours,
    peer: null,
    floor: 0,
    ratio: 2 / ours,
    samples,
    spread: range(samples.map(share => 2 / share)),
    goal: 'at most 2 % (ratio ≥ 1)',
  }
}

function startClients(): Promise<AskedProcess> {
  return AskedProcess.start('control clients', process.execPath, [clientProgram])
}

/** A coordinator process on loopback, killed when `body` is done. */
async function withCoordinator(
  workers: number,
  numSteps: number,
  body: (coordinator: { readonly url: string; readonly pid: number }) => Promise<void>,
): Promise<void> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'skein-bench-'))
  const job = {
    model: { kind: 'gpt2', layers: 1, width: 8, heads: 1, context: 8 },
    data: { kind: 'text', paths: ['.'] },
    batch: { global: 8, micro: 1 },
    steps: numSteps,
    elastic: { min: 1, max: 4096 },
  }
  const ended = new AbortController()
  const running = runJsonLines(process.execPath, {
    args: [
      fileURLToPath(new URL('control-coordinator.js', import.meta.url)),
      JSON.stringify({ job, numWorkers: workers, runDir: path.join(folder, 'run'), token }),
    ],
    timeoutMs: 120_000,
    signal: ended.signal,
    onLine: line => {
      const { url, pid } = line as { url: string; pid: number }
      body({ url, pid }).then(
        () => done.resolve(),
        (error: unknown) => done.reject(error),
      )
    },
  })
  const done = Promise.withResolvers<void>()
  try {
    await Promise.race([done.promise, running.then(() => Promise.reject(new Error('the coordinator ended early')))])
  } finally {
    ended.abort()
    await running
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

/** Of a process, from /proc. */
function resourcesOf(pid: number): { readonly rssBytes: number; readonly cpuMs: number } {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8')
  // After the name in brackets, which may hold anything: utime and stime in ticks of 10 ms, rss in pages.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const number = (index: number) => Number(fields[index])
  return { rssBytes: number(21) * 4096, cpuMs: 10 * (number(11) + number(12)) }
}

import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import readline from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type RunHistory, SqliteLog } from '@skein/coordinator'
import { root, type RunEvent, tinyJob } from '../skein-process.ts'

const cli = fileURLToPath(new URL('../../../packages/cli/dist/main.js', import.meta.url))
export const token = 'a-token-of-the-tests'

/** One `skein` process with the events it printed. */
export class SkeinProcess {
  readonly child: ChildProcess
  readonly events: RunEvent[] = []
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>
  stderr = ''
  #news = Promise.withResolvers<void>()

  constructor(args: readonly string[]) {
    const child = spawn(process.execPath, [cli, ...args, '--json'], {
      cwd: root,
      env: { ...process.env, SKEIN_TOKEN: token },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.child = child
    child.stderr.on('data', (chunk: Buffer) => {
      this.stderr += chunk.toString()
    })
    readline.createInterface({ input: child.stdout }).on('line', line => {
      if (line.startsWith('{')) this.add(JSON.parse(line) as RunEvent)
    })
    this.ended = new Promise(resolve => {
      child.once('close', (code, signal) => {
        resolve({ code, signal })
        this.#wake()
      })
    })
  }

  add(event: RunEvent): void {
    this.events.push(event)
    this.#wake()
  }

  /** The first event that fits, from number `from` on; rejects when the process ends without it or `timeoutMs` pass. */
  async until(
    fits: (event: RunEvent) => boolean,
    what: string,
    { from = 0, timeoutMs = 40_000 } = {},
  ): Promise<RunEvent> {
    const deadlineMs = performance.now() + timeoutMs
    for (;;) {
      const found = this.events.slice(from).find(fits)
      if (found !== undefined) return found
      const leftMs = deadlineMs - performance.now()
      if (leftMs <= 0 || this.child.exitCode !== null || this.child.signalCode !== null) {
        throw new Error(`no ${what}: ${JSON.stringify(this.events.slice(-4))}\n${this.stderr}`)
      }
      let timer: NodeJS.Timeout | undefined
      await Promise.race([this.#news.promise, new Promise(resolve => (timer = setTimeout(resolve, leftMs)))])
      clearTimeout(timer)
    }
  }

  #wake(): void {
    this.#news.resolve()
    this.#news = Promise.withResolvers<void>()
  }
}

/** A run of separate processes, as across hosts: `skein coordinator` and `skein worker --join`. All are killed at the end. */
export class ElasticRun implements AsyncDisposable {
  readonly runDir: string
  readonly workers = new Map<string, SkeinProcess>()
  /** Events of the run, over the lives of its coordinator. */
  coordinator: SkeinProcess
  #port: number
  readonly #args: readonly string[]
  readonly #processes: SkeinProcess[] = []
  #url = ''

  private constructor(folder: string, port: number, args: readonly string[]) {
    this.runDir = path.join(folder, 'run')
    this.#port = port
    this.#args = args
    this.coordinator = this.#startCoordinator()
  }

  static async start(
    folder: string,
    { workers, steps, port = 0, job = tinyJob }: { workers: number; steps: number; port?: number; job?: string },
  ): Promise<ElasticRun> {
    const run = new ElasticRun(folder, port, ['--job', job, '--workers', String(workers), '--steps', String(steps)])
    await run.#listening()
    for (let i = 0; i < workers; i++) run.startWorker(`w${i}`)
    return run
  }

  get url(): string {
    return this.#url
  }

  startWorker(name: string): SkeinProcess {
    const worker = this.#own(['worker', '--join', this.#url, '--id', name, '--threads', '1', '--log-dir', this.runDir])
    this.workers.set(name, worker)
    return worker
  }

  worker(name: string): SkeinProcess {
    const worker = this.workers.get(name)
    if (worker === undefined) throw new Error(`there is no worker ${name}`)
    return worker
  }

  /** Starts the coordinator again, from its log. */
  async restartCoordinator(): Promise<void> {
    this.coordinator = this.#startCoordinator('--continue')
    await this.#listening()
  }

  /** The next event that fits, among all since the coordinator began (or those from number `from` on). */
  until(fits: (event: RunEvent) => boolean, what: string, options: { from?: number; timeoutMs?: number } = {}) {
    return this.coordinator.until(fits, what, options)
  }

  step(number: number): Promise<RunEvent> {
    return this.until(event => event.event === 'step' && Number(event['step']) >= number, `step ${number}`)
  }

  /** Asks for an end with a checkpoint. */
  async stop(): Promise<void> {
    await fetch(`${this.#url}/stop`, { method: 'POST', headers: { authorization: `Bearer ${token}` } })
  }

  async status(): Promise<Record<string, unknown>> {
    const response = await fetch(`${this.#url}/status`, { headers: { authorization: `Bearer ${token}` } })
    return (await response.json()) as Record<string, unknown>
  }

  /** The commit log, read as any tool would. */
  commits(): RunHistory['commits'] {
    const log = new SqliteLog(path.join(this.runDir, 'coordinator.sqlite'))
    try {
      return log.read().commits
    } finally {
      log.close()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { child } of this.#processes) child.kill('SIGKILL')
    await Promise.all(this.#processes.map(({ ended }) => ended))
  }

  #startCoordinator(...more: string[]): SkeinProcess {
    return this.#own(['coordinator', ...this.#args, '--port', String(this.#port), '--run-dir', this.runDir, ...more])
  }

  async #listening(): Promise<void> {
    const { coordinator } = this
    const event = await coordinator.until(one => one.event === 'listening', 'coordinator')
    this.#url = String(event['url'])
    // A restarted one is looked for where it was.
    this.#port = Number(event['port'])
    void follow(`${this.#url}/events`, line => coordinator.add(line))
  }

  #own(args: readonly string[]): SkeinProcess {
    const started = new SkeinProcess(args)
    this.#processes.push(started)
    return started
  }
}

/** The events of a run as they come, until its coordinator is gone. */
export async function follow(url: string, onEvent: (event: RunEvent) => void): Promise<void> {
  try {
    const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } })
    let text = ''
    const decoder = new TextDecoder()
    for await (const chunk of response.body ?? []) {
      text += decoder.decode(chunk as Uint8Array, { stream: true })
      const lines = text.split('\n')
      text = lines.pop() ?? ''
      for (const line of lines) if (line !== '') onEvent(JSON.parse(line) as RunEvent)
    }
  } catch {
    // The coordinator was killed: its process tells more.
  }
}

/** A job whose learning rate does not depend on its number of steps, so that a run that was ended can be compared with a shorter one. */
export function constantRateJob(folder: string, checkpoint: { readonly every?: number } = {}): string {
  const text = path.dirname(createRequire(import.meta.url).resolve('@types/node/package.json'))
  const file = path.join(folder, 'constant.job.yaml')
  const job = {
    model: { kind: 'gpt2', layers: 1, width: 32, heads: 2, context: 32 },
    data: { kind: 'text', paths: [text], include: ['*.d.ts'], exclude: [] },
    optimizer: { kind: 'adamw', lr: 1e-3, schedule: 'constant', warmupSteps: 0 },
    batch: { global: 16 },
    mesh: { dp: 2 },
    steps: 100,
    eval: { every: 0, samples: 16 },
    checkpoint,
  }
  // JSON is YAML.
  fs.writeFileSync(file, JSON.stringify(job))
  return file
}

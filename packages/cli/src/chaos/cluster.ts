import fs from 'node:fs'
import path from 'node:path'
import { deferred, SkeinError, within } from '@skein/core'
import { CliErrors } from '../errors.ts'
import { askCoordinator, followEvents } from '../follow-events.ts'
import { Child, type ChildExit } from '../launch/child.ts'
import { parseRunEvent, type RunEvent, textField } from '../run-event.ts'
import { limitFiles } from './break-disk.ts'
import { ClusterNetwork, coordinatorNode } from './cluster-network.ts'

export interface ClusterOptions {
  readonly jobFile: string
  readonly workers: number
  readonly steps: number
  /** Instead of the job's. */
  readonly checkpointEvery?: number
  readonly runDir: string
  readonly token: string
  /** Of each worker's kernels. */
  readonly threads: number
  readonly env: Readonly<Record<string, string | undefined>>
  /** Lets links be cut, slowed and falsified: all connections run through this process. The seed is that of jitter. */
  readonly network?: { readonly seed: number }
  /** Lets wall clocks jump. */
  readonly canJump?: boolean
  readonly onEvent?: (event: RunEvent) => void
}

const startMs = 30_000

/**
 * The processes of one run as across hosts, on this machine: `skein coordinator` and `skein worker --join`. Any of them can be killed, stopped
 * and started again. Owns them all: none is left when it is disposed.
 */
export class Cluster implements AsyncDisposable {
  /** Absent unless it was asked for. */
  readonly network: ClusterNetwork | undefined
  /** Of all lives of the coordinator, each once, in order. */
  readonly events: RunEvent[] = []
  readonly #options: ClusterOptions
  readonly #workers = new Map<string, Child>()
  readonly #children: Child[] = []
  readonly #pending = new Set<Promise<void>>()
  readonly #ended = deferred<RunEvent>()
  readonly #closing = new AbortController()
  #news = deferred<void>()
  #coordinator: Child | undefined
  #port = 0
  /** Of any file that a worker writes. */
  #maxFileBytes: number | undefined
  #url = ''

  private constructor(options: ClusterOptions) {
    this.#options = options
    this.network = options.network === undefined ? undefined : new ClusterNetwork(options.network.seed)
    this.#ended.promise.catch(() => undefined)
    process.on('exit', this.#onExit)
  }

  /** Starts the coordinator and workers w0, w1, … */
  static async start(options: ClusterOptions): Promise<Cluster> {
    fs.mkdirSync(path.join(options.runDir, 'logs'), { recursive: true })
    const cluster = new Cluster(options)
    try {
      await cluster.startCoordinator()
      for (let i = 0; i < options.workers; i++) await cluster.startWorker(`w${i}`)
      return cluster
    } catch (error) {
      await cluster[Symbol.asyncDispose]()
      throw error
    }
  }

  get url(): string {
    return this.#url
  }

  get coordinator(): Child | undefined {
    return this.#coordinator
  }

  /** By name, the newest process of each. */
  get workers(): ReadonlyMap<string, Child> {
    return this.#workers
  }

  /** Every node of the network but this one. */
  peersOf(node: string): string[] {
    return [coordinatorNode, ...this.#workers.keys()].filter(name => name !== node)
  }

  /** The run's last event; rejects when the run cannot be followed any more. */
  get ended(): Promise<RunEvent> {
    return this.#ended.promise
  }

  /** The first event that fits, from number `from` on. @throws SKEIN_TIMEOUT, SKEIN_CLI_RUN_OVER */
  async until(
    fits: (event: RunEvent) => boolean,
    what: string,
    { from = 0, timeoutMs = 60_000 } = {},
  ): Promise<RunEvent> {
    const find = async () => {
      for (let i = from; ; ) {
        for (; i < this.events.length; i++) if (fits(this.events[i] as RunEvent)) return this.events[i] as RunEvent
        await this.#news.promise
      }
    }
    const logs = path.join(this.#options.runDir, 'logs')
    const todo = `read ${logs}; the last events: ${JSON.stringify(this.events.slice(-4))}`
    const findAtTheEnd = this.#ended.promise.then(() => {
      const found = this.events.slice(from).find(fits)
      if (found !== undefined) return found
      throw new SkeinError(CliErrors.RUN_OVER, { what: `the run has ended without ${what}`, todo })
    })
    const found = Promise.race([find(), findAtTheEnd])
    return within(found, { what, timeoutMs, todo, signal: this.closing })
  }

  async startCoordinator(): Promise<void> {
    const { jobFile, workers, steps, runDir, checkpointEvery } = this.#options
    const isAgain = this.#coordinator !== undefined
    const listening = deferred<string>()
    const args = ['coordinator', '--job', jobFile, '--workers', String(workers), '--steps', String(steps)]
    if (checkpointEvery !== undefined) args.push('--checkpoint-every', String(checkpointEvery))
    const child = this.#start(
      'coordinator',
      [...args, '--run-dir', runDir, '--port', String(this.#port), ...(isAgain ? ['--continue'] : [])],
      line => {
        const event = parseRunEvent(line)
        const url = event === undefined ? undefined : textField(event, 'url')
        if (event?.event === 'listening' && url !== undefined) listening.resolve(url)
        if (event?.event === 'error')
          listening.reject(
            new SkeinError(CliErrors.CHILD_EXITED, { what: String(event['message']), todo: String(event['todo']) }),
          )
      },
    )
    this.#coordinator = child
    const died = child.exited.then((exit: ChildExit) =>
      Promise.reject(new Error(`the coordinator ended with ${exit.code ?? exit.signal}`)),
    )
    died.catch(() => undefined)
    listening.promise.catch(() => undefined)
    this.#url = await within(Promise.race([listening.promise, died]), {
      what: 'the coordinator to listen',
      timeoutMs: startMs,
    })
    // A restarted one is looked for where it was.
    this.#port = Number(new URL(this.#url).port)
    this.own(this.#follow(child))
  }

  /** Asks for the end of the run, with a checkpoint. */
  async stop(): Promise<void> {
    const { token } = this.#options
    await askCoordinator({ urls: [this.#url], token, method: 'POST', path: '/stop', timeoutMs: startMs })
  }

  /** A process of this name, beside one that there may be. */
  async startWorker(name: string): Promise<Child> {
    const { runDir, threads } = this.#options
    const place = await this.network?.place(name, this.#url)
    const { join = this.#url, flags = [] } = place ?? {}
    const logs = path.join(runDir, 'logs')
    const args = ['worker', '--join', join, '--id', name, '--threads', String(threads), '--log-dir', logs, ...flags]
    const child = this.#start(name, args)
    this.#workers.set(name, child)
    if (place !== undefined) void child.exited.then(() => place.close())
    if (this.#maxFileBytes !== undefined) await limitFiles(child, this.#maxFileBytes)
    return child
  }

  /** No worker can write a file beyond this many bytes, as if the disk were full then; undefined: as it was. */
  async limitFiles(maxBytes: number | undefined): Promise<void> {
    this.#maxFileBytes = maxBytes
    await Promise.all([...this.#workers.values()].map(child => limitFiles(child, maxBytes)))
  }

  /** Sets the wall clock of a process (`coordinatorNode`, or a worker's name) ahead, or back; timers go on as they were. */
  jump(node: string, aheadMs: number): void {
    fs.writeFileSync(this.#clockFile(node === coordinatorNode ? 'coordinator' : node), String(aheadMs))
  }

  /** Work beside the run; where it fails before the end, so does `ended`. */
  own(work: Promise<void>): void {
    const owned = work.catch((error: unknown) => {
      if (!this.#closing.signal.aborted) this.#ended.reject(error)
    })
    this.#pending.add(owned)
    void owned.then(() => this.#pending.delete(owned))
  }

  /** Aborted when all is to end. */
  get closing(): AbortSignal {
    return this.#closing.signal
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    await Promise.allSettled(this.#pending)
    await Promise.all(this.#children.map(child => child.stop(1_000)))
    await this.network?.[Symbol.asyncDispose]()
    process.off('exit', this.#onExit)
  }

  /** One that is stopped cannot see that this process is gone. */
  readonly #onExit = () => {
    for (const child of this.#children) child.killNow()
  }

  /** Reads the events of one life of the coordinator: a restarted one counts its own. */
  async #follow(child: Child): Promise<void> {
    const over = new AbortController()
    const end = () => over.abort()
    void child.exited.then(end)
    this.#closing.signal.addEventListener('abort', end, { once: true })
    const { token } = this.#options
    await followEvents({ urls: [this.#url], token, onEvent: event => this.#hear(event), signal: over.signal })
  }

  #hear(event: RunEvent): void {
    this.events.push(event)
    this.network?.heard(event)
    const news = this.#news
    this.#news = deferred()
    news.resolve()
    this.#options.onEvent?.(event)
    if (event.event === 'done' || event.event === 'error') this.#ended.resolve(event)
  }

  #start(name: string, args: readonly string[], onLine?: (line: string) => void): Child {
    const { runDir, env, token, canJump = false } = this.#options
    const child = new Child({
      name,
      args: [...args, '--json', '--exit-with-parent'],
      env: { ...env, SKEIN_TOKEN: token, ...(canJump ? this.#clockOf(name) : {}) },
      stderrFile: path.join(runDir, 'logs', `${name}.stderr.log`),
      ...(onLine === undefined ? {} : { onLine }),
    })
    this.#children.push(child)
    return child
  }

  #clockOf(name: string): Record<string, string> {
    const preload = new URL('./jumping-clock.js', import.meta.url).href
    return {
      NODE_OPTIONS: `${this.#options.env['NODE_OPTIONS'] ?? ''} --import=${preload}`.trim(),
      SKEIN_CHAOS_CLOCK: this.#clockFile(name),
    }
  }

  #clockFile(name: string): string {
    return path.join(this.#options.runDir, 'logs', `${name}.clock`)
  }
}

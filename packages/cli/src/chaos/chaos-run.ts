import fs from 'node:fs'
import path from 'node:path'
import { deferred, SkeinError, sleep, within } from '@skein/core'
import { CliErrors } from '../errors.ts'
import { followEvents } from '../follow-events.ts'
import { Child, type ChildExit } from '../launch/child.ts'
import { parseRunEvent, type RunEvent, textField } from '../run-event.ts'
import type { Fault } from './faults.ts'

export interface ChaosOptions {
  readonly jobFile: string
  readonly workers: number
  readonly steps: number
  readonly runDir: string
  readonly token: string
  readonly threads: number
  readonly env: Readonly<Record<string, string | undefined>>
  readonly faults: readonly (Fault & { readonly workerId?: string })[]
  readonly onEvent: (event: RunEvent) => void
  readonly onFault: (fault: Fault, target: string) => void
  readonly timeoutMs: number
}

const startMs = 30_000
const stormSize = 4
const flaps = 3

/**
 * A run of real processes to which faults are done as its steps are committed. Whatever is taken away comes back, so that the run can end.
 * Owns all its processes: none is left when `play` settles.
 */
export class ChaosRun {
  readonly #options: ChaosOptions
  readonly #workers = new Map<string, Child>()
  readonly #children: Child[] = []
  readonly #pending = new Set<Promise<void>>()
  readonly #ended = deferred<RunEvent>()
  readonly #closing = new AbortController()
  #coordinator: Child | undefined
  #port = 0
  #url = ''
  #names = 0
  #nextFault = 0

  constructor(options: ChaosOptions) {
    this.#options = options
  }

  /** Resolves with the run's last event. @throws SKEIN_TIMEOUT when it does not end */
  async play(): Promise<RunEvent> {
    const { workers, timeoutMs } = this.#options
    fs.mkdirSync(path.join(this.#options.runDir, 'logs'), { recursive: true })
    try {
      await this.#startCoordinator([])
      for (let i = 0; i < workers; i++) this.#startWorker(`w${this.#names++}`)
      return await within(this.#ended.promise, {
        what: 'the run to end',
        timeoutMs,
        todo: `read ${this.#options.runDir}/logs`,
      })
    } finally {
      this.#closing.abort()
      await Promise.allSettled(this.#pending)
      await Promise.all(this.#children.map(child => child.stop(1_000)))
    }
  }

  /** All faults that are due at this step. */
  #onEvent(event: RunEvent): void {
    this.#options.onEvent(event)
    if (event.event === 'done' || event.event === 'error') this.#ended.resolve(event)
    if (event.event !== 'step') return
    const { faults } = this.#options
    for (
      let fault = faults[this.#nextFault];
      fault !== undefined && fault.atStep <= Number(event['step']);
      fault = faults[this.#nextFault]
    ) {
      this.#nextFault++
      this.#own(this.#carryOut(fault))
    }
  }

  async #carryOut(fault: Fault & { readonly workerId?: string }): Promise<void> {
    const { signal } = this.#closing
    const alive = [...this.#workers].filter(([, child]) => child.running).toSorted(([a], [b]) => (a < b ? -1 : 1))
    const [name, child] =
      alive.find(([one]) => one === fault.workerId) ?? alive[fault.who % Math.max(1, alive.length)] ?? []
    const back = () => sleep(fault.forMs, signal)
    const needsWorker = !['join', 'storm', 'coordinator'].includes(fault.kind)
    if (needsWorker && (name === undefined || child === undefined)) return
    this.#options.onFault(fault, fault.kind === 'coordinator' ? 'coordinator' : needsWorker ? (name ?? '') : 'new')
    switch (fault.kind) {
      case 'kill':
        child?.killNow()
        await back()
        this.#startWorker(name ?? '')
        break
      case 'stop':
        child?.signal('SIGSTOP')
        await back()
        child?.signal('SIGCONT')
        break
      case 'leave':
        child?.signal('SIGTERM')
        await back()
        this.#startWorker(`w${this.#names++}`)
        break
      case 'join':
        this.#startWorker(`w${this.#names++}`)
        break
      case 'storm': {
        const some = Array.from({ length: stormSize }, () => this.#startWorker(`w${this.#names++}`))
        await back()
        for (const one of some) one.killNow()
        break
      }
      case 'flap': {
        let last = child
        for (let i = 0; i < flaps; i++) {
          last?.killNow()
          last = this.#startWorker(name ?? '')
          await back()
        }
        break
      }
      case 'duplicate':
        // The older one is replaced, or the two take turns until one gives up.
        this.#startWorker(name ?? '')
        break
      case 'coordinator':
        this.#coordinator?.killNow()
        await this.#coordinator?.exited
        await sleep(Math.min(fault.forMs, 3_000), signal)
        await this.#startCoordinator(['--continue'])
        break
    }
  }

  async #startCoordinator(more: readonly string[]): Promise<void> {
    const { jobFile, workers, steps, runDir } = this.#options
    const listening = deferred<string>()
    const args = ['coordinator', '--job', jobFile, '--workers', String(workers), '--steps', String(steps)]
    const child = this.#start(
      'coordinator',
      [...args, '--run-dir', runDir, '--port', String(this.#port), ...more],
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
    this.#url = await within(Promise.race([listening.promise, died]), {
      what: 'the coordinator to listen',
      timeoutMs: startMs,
    })
    // A restarted one is looked for where it was.
    this.#port = Number(new URL(this.#url).port)
    this.#own(this.#follow(child))
  }

  /** Reads the events of one life of the coordinator. */
  async #follow(child: Child): Promise<void> {
    const over = new AbortController()
    const end = () => over.abort()
    void child.exited.then(end)
    this.#closing.signal.addEventListener('abort', end, { once: true })
    const { token } = this.#options
    await followEvents({ url: this.#url, token, onEvent: event => this.#onEvent(event), signal: over.signal })
  }

  #startWorker(name: string): Child {
    const { runDir, threads } = this.#options
    const logs = path.join(runDir, 'logs')
    const args = ['worker', '--join', this.#url, '--id', name, '--threads', String(threads), '--log-dir', logs]
    const child = this.#start(name, args)
    this.#workers.set(name, child)
    return child
  }

  #start(name: string, args: readonly string[], onLine?: (line: string) => void): Child {
    const { runDir, env, token } = this.#options
    const child = new Child({
      name,
      args: [...args, '--json', '--exit-with-parent'],
      env: { ...env, SKEIN_TOKEN: token },
      stderrFile: path.join(runDir, 'logs', `${name}.stderr.log`),
      ...(onLine === undefined ? {} : { onLine }),
    })
    this.#children.push(child)
    return child
  }

  /** Work beside the run; it fails only when the run is over, or the run cannot go on and `play` says so. */
  #own(work: Promise<void>): void {
    const owned = work.catch((error: unknown) => {
      if (!this.#closing.signal.aborted) this.#ended.reject(error)
    })
    this.#pending.add(owned)
    void owned.then(() => this.#pending.delete(owned))
  }
}

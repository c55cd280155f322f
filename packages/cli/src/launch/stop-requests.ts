import { type Deferred, deferred, SkeinError } from '@skein/core'
import { CliErrors } from '../errors.ts'
import { askCoordinator } from '../follow-events.ts'

/** How long the run may take to stop with a checkpoint: after Ctrl-C, and after a signal whose sender will not wait long. */
const patienceMs = { SIGINT: 30_000, SIGTERM: 10_000, SIGHUP: 10_000 } as const
const statuses = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const
type StopSignal = keyof typeof statuses

export interface StopOptions {
  readonly token: string
  readonly onNote: (note: string) => void
}

/**
 * What signals mean to the launcher of a run: the first asks the coordinator to stop with a checkpoint and waits for it, the
 * second, or the end of the patience, kills. Owns the process's signal handlers until it is disposed.
 */
export class StopRequests {
  readonly #options: StopOptions
  readonly #gaveUp: Deferred<SkeinError> = deferred()
  readonly #listeners: readonly (readonly [StopSignal, () => void])[]
  #first: StopSignal | undefined
  #url: string | undefined
  #kill: (() => void) | undefined
  #timer: NodeJS.Timeout | undefined
  #interrupted: SkeinError | undefined

  constructor(options: StopOptions) {
    this.#options = options
    const names = Object.keys(statuses) as StopSignal[]
    this.#listeners = names.map(name => [name, () => this.#onSignal(name)] as const)
    for (const [name, listener] of this.#listeners) process.on(name, listener)
    process.on('exit', this.#onExit)
  }

  /** Resolves with what to tell when waiting for a clean end is over. */
  get gaveUp(): Promise<SkeinError> {
    return this.#gaveUp.promise
  }

  /** The same once it happened, to be told instead of the deaths it caused. */
  get interrupted(): SkeinError | undefined {
    return this.#interrupted
  }

  /** Exit status of a run that ended well: a stop by Ctrl-C that left a checkpoint is one. */
  get endedStatus(): number {
    return this.#first === undefined || this.#first === 'SIGINT' ? 0 : statuses[this.#first]
  }

  get failedStatus(): number {
    return this.#first === undefined ? 1 : statuses[this.#first]
  }

  /** Whom to ask, once it listens. */
  coordinatorAt(url: string): void {
    this.#url = url
  }

  /** What ends the children at once; also used if this process ends in any other way. */
  killWith(kill: () => void): void {
    this.#kill = kill
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
    for (const [name, listener] of this.#listeners) process.off(name, listener)
    process.off('exit', this.#onExit)
  }

  readonly #onExit = () => this.#kill?.()

  #onSignal(name: StopSignal): void {
    if (this.#first !== undefined) {
      this.#giveUp(`${name} came while the run was stopping`)
      return
    }
    this.#first = name
    if (this.#url === undefined) {
      this.#giveUp(`${name} came before the run had begun`)
      return
    }
    const patience = patienceMs[name]
    const again = name === 'SIGINT' ? '; Ctrl-C again ends it without one' : ''
    this.#options.onNote(`stopping with a checkpoint (at most ${patience / 1000} s${again})`)
    this.#timer = setTimeout(() => this.#giveUp(`the run did not stop within ${patience / 1000} s`), patience)
    const { token } = this.#options
    askCoordinator({ urls: [this.#url], method: 'POST', path: '/stop', token, timeoutMs: patience }).catch(
      (error: unknown) => this.#giveUp(`the coordinator did not take the stop: ${String(error)}`),
    )
  }

  #giveUp(what: string): void {
    if (this.#interrupted !== undefined) return
    this.#interrupted = new SkeinError(CliErrors.RUN_INTERRUPTED, {
      what,
      why: 'the processes of the run were killed, so its last steps are not in a checkpoint',
      todo: 'go on from the newest checkpoint, if there is one, with --resume',
    })
    this.#kill?.()
    this.#gaveUp.resolve(this.#interrupted)
  }
}

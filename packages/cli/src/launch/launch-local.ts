import fs from 'node:fs'
import path from 'node:path'
import { deferred, SkeinError, within } from '@skein/core'
import { errorOfEvent } from '../error-event.ts'
import { CliErrors } from '../errors.ts'
import { parseRunEvent, type RunEvent, textField } from '../run-event.ts'
import { Child, type ChildExit } from './child.ts'

export interface LocalLaunch {
  readonly numWorkers: number
  /** Arguments of `skein coordinator` after the ones given here: the job file, its overrides, --resume … */
  readonly coordinatorArgs: readonly string[]
  readonly runDir: string
  /** Shared secret of this run; travels by environment, which other users of the machine cannot read. */
  readonly token: string
  /** Threads of each worker's kernels. */
  readonly threads: number
  readonly device?: string
  /** Environment of the children; SKEIN_TOKEN is added. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly mainFile?: string
  /** Until the coordinator says its address. Default 30 s. */
  readonly startTimeoutMs?: number
}

/** How a child ended that should have gone on. */
export interface ChildFailure {
  readonly name: string
  readonly exit: ChildExit
  /** The error that it reported itself on stdout, if any. */
  readonly error: SkeinError | undefined
  readonly lastWords: string
}

/** The processes of a run on this machine. The owner must call `stop` or `killNow` at the end, whatever happened. */
export interface LocalRun {
  readonly url: string
  /**
   * Resolves when the run cannot go on here: the coordinator ended with anything but status 0, or the last worker did. Other workers'
   * ends are the coordinator's business.
   */
  readonly failed: Promise<ChildFailure>
  /** All that did so far. */
  failures(): readonly ChildFailure[]
  /** Resolves when all children have ended. */
  readonly ended: Promise<void>
  /** Ends what still runs: SIGTERM, then SIGKILL after `graceMs`; idempotent. */
  stop(graceMs: number): Promise<void>
  killNow(): void
}

/** Names of the workers of a local run: w0 … */
export function workerNames(numWorkers: number): string[] {
  return Array.from({ length: numWorkers }, (_, i) => `w${i}`)
}

/** Threads of each of `numWorkers` workers that share `cores`: at least one. */
export function threadsPerWorker(cores: number, numWorkers: number): number {
  return Math.max(1, Math.floor(cores / numWorkers))
}

/**
 * Starts `skein coordinator` and the workers, all at once: workers load their device while the coordinator opens its port,
 * and get its address as the first line of their stdin (`--join -`). Holds no logic of training.
 * @throws what the coordinator reports, SKEIN_CLI_START_TIMEOUT, SKEIN_CLI_CHILD_EXITED; nothing runs on after a throw
 */
export async function launchLocal(launch: LocalLaunch, onSpawn: (kill: () => void) => void): Promise<LocalRun> {
  const logs = path.join(launch.runDir, 'logs')
  fs.mkdirSync(logs, { recursive: true })
  const env = { ...launch.env, SKEIN_TOKEN: launch.token }
  const listening = deferred<string>()
  const firstFailure = deferred<ChildFailure>()
  const failed = deferred<ChildFailure>()
  const failures: ChildFailure[] = []
  const reported = new Map<string, RunEvent>()

  const start = (name: string, args: readonly string[], onEvent?: (event: RunEvent) => void): Child =>
    new Child({
      name,
      args: [...args, '--json', '--exit-with-parent'],
      env,
      stderrFile: path.join(logs, `${name}.stderr.log`),
      ...(launch.mainFile === undefined ? {} : { mainFile: launch.mainFile }),
      onLine: line => {
        const event = parseRunEvent(line)
        if (event?.event === 'error') reported.set(name, event)
        if (event !== undefined) onEvent?.(event)
      },
    })

  const coordinator = start('coordinator', ['coordinator', ...launch.coordinatorArgs], event => {
    const url = textField(event, 'url')
    if (event.event === 'listening' && url !== undefined) listening.resolve(url)
  })
  const device = launch.device === undefined ? [] : ['--device', launch.device]
  const workers = workerNames(launch.numWorkers).map(name =>
    start(name, [
      'worker',
      '--join',
      '-',
      '--id',
      name,
      '--threads',
      String(launch.threads),
      '--log-dir',
      logs,
      ...device,
    ]),
  )
  const children = [coordinator, ...workers]
  const killNow = () => {
    for (const child of children) child.killNow()
  }
  onSpawn(killNow)
  const stop = async (graceMs: number) => {
    await Promise.all(children.map(child => child.stop(graceMs)))
  }
  for (const child of children) {
    void child.exited.then(exit => {
      if (exit.code === 0) return
      const event = reported.get(child.name)
      const error = event === undefined ? undefined : errorOfEvent(event)
      const failure = { name: child.name, exit, error, lastWords: child.lastWords() }
      failures.push(failure)
      firstFailure.resolve(failure)
      if (child === coordinator || workers.every(worker => !worker.running)) failed.resolve(failures[0] ?? failure)
    })
  }

  try {
    const early = firstFailure.promise.then(failure => Promise.reject(childFailed(failure, launch.runDir)))
    early.catch(() => undefined)
    const url = await within(Promise.race([listening.promise, early]), {
      what: 'the coordinator to listen',
      timeoutMs: launch.startTimeoutMs ?? 30_000,
      todo: `read ${path.join(logs, 'coordinator.stderr.log')}`,
    })
    for (const worker of workers) worker.tell(url)
    const ended = Promise.all(children.map(child => child.exited)).then(() => undefined)
    return { url, failed: failed.promise, failures: () => failures, ended, stop, killNow }
  } catch (error) {
    await stop(1000)
    throw error
  }
}

/** The failure as the error to show: the child's own, with its name, or one made from how it ended. */
export function childFailed(failure: ChildFailure, runDir: string): SkeinError {
  if (failure.error !== undefined) return failure.error
  const how = failure.exit.signal === null ? `with status ${failure.exit.code}` : `by signal ${failure.exit.signal}`
  const log = path.join(runDir, 'logs', `${failure.name}.stderr.log`)
  return new SkeinError(CliErrors.CHILD_EXITED, {
    what: `${failure.name === 'coordinator' ? 'the coordinator' : `worker ${failure.name}`} ended ${how} before the run was over`,
    why:
      failure.exit.signal === 'SIGKILL'
        ? 'someone killed it, or the system ran out of memory'
        : 'its last words are below',
    todo: `read ${log}${failure.exit.signal === 'SIGKILL' ? ' and `dmesg` for the out-of-memory killer' : ''}`,
    details: { name: failure.name, ...failure.exit, lastWords: failure.lastWords },
  })
}

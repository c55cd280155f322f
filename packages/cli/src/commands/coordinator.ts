import type { Environment } from '../environment.ts'
import { SkeinError } from '@skein/core'
import { possibleReplicas } from '@skein/job'
import { CliErrors } from '../errors.ts'
import { endingOf } from '../launch/ending.ts'
import { watchParent } from '../launch/parent.ts'
import { loadForRun, type JobOptions } from '../load-for-run.ts'
import { usage } from '../option-values.ts'
import { reportError, tellSkipped } from '../report-error.ts'
import { readTlsIdentity, type TlsOptions } from '../tls-files.ts'

export interface CoordinatorCommandOptions extends JobOptions, TlsOptions {
  readonly job: string
  readonly workers: number
  readonly host: string
  readonly port: number
  readonly token?: string
  /** Go on with the run in the folder. */
  readonly continue: boolean
  readonly store: 'sqlite' | 'etcd'
  readonly etcd?: string
  readonly etcdTtl: number
  readonly advertise?: string
  readonly json: boolean
  readonly exitWithParent: boolean
  readonly environment: Environment
}

/** More workers than a coordinator takes. */
const maxReplicas = 4_096

/** Time to stop with a checkpoint before the process is ended hard; a container's grace is 10 s unless told. */
const endGraceMs = 30_000

/**
 * `skein coordinator`: says where it listens, and runs until the run is over. The first signal stops the run with a
 * checkpoint, the second ends the process; with its log in etcd SIGTERM lets another coordinator lead instead. Status: 0 finished, or stopped by Ctrl-C · 1 failed · 128+n ended by signal n.
 */
export async function coordinator(options: CoordinatorCommandOptions): Promise<number> {
  const { json, token, environment } = options
  const parent = options.exitWithParent ? watchParent() : undefined
  using ending = endingOf(endGraceMs)
  const say = (facts: Readonly<Record<string, unknown>>, text: string) =>
    process.stdout.write(json ? `${JSON.stringify(facts)}\n` : `${text}\n`)
  // What is wrong with the command line is no end of a run: status 2.
  if (options.continue && options.runDir === undefined)
    throw usage(
      '--continue was given without --run-dir',
      'pass --run-dir DIR: its folder says which run is gone on with',
    )
  const tls = readTlsIdentity(options)
  const etcd = etcdOf(options)
  try {
    const [{ startCoordinator }, run] = await Promise.all([
      import('@skein/coordinator'),
      loadForRun(options.job, options, environment.store),
    ])
    tellSkipped(run.skipped, json)
    const replicas = possibleReplicas(run.job, maxReplicas)
    const running = await startCoordinator({
      job: run.job,
      jobFile: run.jobFile,
      numWorkers: run.numWorkers,
      ...(replicas === undefined ? {} : { replicas }),
      host: options.host,
      port: options.port,
      runDir: run.runDir,
      continueRun: options.continue,
      logLevel: environment.logLevel,
      storeEnvironment: environment.store,
      // With etcd the run goes on without this process.
      ...(etcd === undefined ? { signal: ending.signal } : { signal: ending.interrupted, resign: ending.terminated }),
      ...(token === undefined ? {} : { token }),
      ...(etcd === undefined ? {} : { etcd }),
      ...(options.advertise === undefined ? {} : { advertise: options.advertise }),
      onStandBy: facts =>
        say(
          { event: 'standby', ...facts, runDir: run.runDir },
          `standing by on ${facts.url}; ${facts.leader} leads the run`,
        ),
      ...(tls === undefined ? {} : { tls }),
      ...(run.resume === undefined ? {} : { resume: run.resume }),
    })
    void parent?.gone.then(() => running.close())
    try {
      const { url, port, warning } = running
      if (warning !== undefined) process.stderr.write(`warning: ${warning}\n`)
      // A drawn token must be told; a given one is known to who gave it.
      const join = token === undefined ? ` --token ${running.token}` : ''
      say(
        { event: 'listening', url, port, runDir: run.runDir, ...(token === undefined ? { token: running.token } : {}) },
        `listening on ${url}; the run's folder is ${run.runDir}\nwaiting for ${run.numWorkers} workers: skein worker --join ${url}${join}${tls === undefined ? '' : ' --tls DIR'}`,
      )
      const outcome = await running.finished
      if (outcome.error !== undefined) throw SkeinError.fromJSON(outcome.error)
      const { status, reason, steps, checkpoint } = outcome
      say(
        { event: 'ended', status, reason, steps, checkpoint },
        `${status} after step ${steps}; the checkpoint is ${checkpoint ?? 'none'}`,
      )
      return ending.stoppedStatus()
    } finally {
      await running.close()
    }
  } catch (thrown) {
    reportError(thrown, { json })
    return ending.status() ?? 1
  }
}

/** @throws SKEIN_CLI_… where the options do not go together */
function etcdOf({ store, etcd, etcdTtl, runDir }: CoordinatorCommandOptions) {
  if (store === 'sqlite' && etcd === undefined) return undefined
  if (etcd === undefined || store === 'sqlite' || runDir === undefined) {
    throw new SkeinError(CliErrors.USAGE, {
      what: '--store etcd, --etcd URL and --run-dir DIR go together',
      why: 'coordinators find the run that they share by the name of its folder, in the etcd of that address',
      todo: 'pass all three, the same to each coordinator of the run',
    })
  }
  return { endpoints: etcd.split(',').map(url => url.trim()), ttlSeconds: etcdTtl }
}

import os from 'node:os'
import { CoreErrors, SkeinError } from '@skein/core'
import { chooseDevice, cpuWheel, cudaWheel, type DeviceKind, loadBinding, runtimePlaces } from '@skein/device'
import type { Environment } from '../environment.ts'
import { CliErrors } from '../errors.ts'
import { endingOf } from '../launch/ending.ts'
import { watchParent } from '../launch/parent.ts'
import { nameList } from '../option-values.ts'
import { reportError } from '../report-error.ts'
import { readTlsIdentity, type TlsOptions } from '../tls-files.ts'

export interface WorkerCommandOptions extends TlsOptions {
  /** http(s) URLs of the coordinators that may lead the run; "-": the first line of stdin has them. */
  readonly join: readonly string[]
  readonly token?: string
  readonly id?: string
  readonly threads?: number
  readonly device?: string
  readonly host: string
  readonly port: number
  readonly advertise?: { readonly host: string; readonly port?: number }
  readonly lane: 'raw' | 'ws'
  readonly localLanes: boolean
  readonly logDir?: string
  /** Seconds. */
  readonly joinTimeout: number
  readonly reconnectTimeout: number
  readonly json: boolean
  readonly exitWithParent: boolean
  readonly environment: Environment
}

/** Listening on all addresses, a worker is dialled by its host's name: in a container network that name resolves. */
const anyAddress: ReadonlySet<string> = new Set(['0.0.0.0', '::', ''])

/** Time for the worker to finish the steps under way and hand over. */
const endGraceMs = 30_000
/** Time for a worker whose launcher is gone to close its sockets: nobody is left who would end it if it could not. */
const orphanGraceMs = 10_000

/**
 * `skein worker`: one device in one run, from join to the end. A signal makes it leave after the steps under way, a second one at once.
 * Status 0 when the coordinator ended the run, or this worker's part in it, well.
 */
export async function worker(options: WorkerCommandOptions): Promise<number> {
  const isTold = options.join[0] === '-'
  const parent = options.exitWithParent || isTold ? watchParent() : undefined
  using ending = endingOf(endGraceMs)
  const orphaned = new AbortController()
  // Of `echo URL | skein worker --join -` the end of stdin says nothing.
  if (options.exitWithParent) {
    void parent?.gone.then(() => {
      orphaned.abort(launcherGone())
      setTimeout(() => process.exit(1), orphanGraceMs).unref()
    })
  }
  // Loading worker and device overlaps waiting for the address.
  const { runWorker } = await import('@skein/worker')
  if (isTold) await loadDevice(options)
  const told = isTold
    ? await Promise.race([parent?.firstLine, aborted(ending.signal), aborted(orphaned.signal)])
    : undefined
  if (isTold && (told === undefined || told === '')) throw noAddress()
  const { token, id, threads, device, host, port, advertise, logDir, json } = options
  // What is wrong with the command line is no end of a worker: status 2.
  const tls = readTlsIdentity(options)
  try {
    const outcome = await runWorker({
      join: told === undefined ? options.join : nameList('--join')(told),
      listenHost: host,
      listenPort: port,
      advertiseHost: advertise?.host ?? (anyAddress.has(host) ? os.hostname() : host),
      ...(advertise?.port === undefined ? {} : { advertisePort: advertise.port }),
      laneKind: options.lane,
      localLanes: options.localLanes,
      logLevel: options.environment.logLevel,
      environment: options.environment.store,
      joinTimeoutMs: options.joinTimeout * 1000,
      reconnectTimeoutMs: options.reconnectTimeout * 1000,
      signal: orphaned.signal,
      leave: ending.signal,
      ...(token === undefined ? {} : { token }),
      ...(tls === undefined ? {} : { tls }),
      ...(id === undefined ? {} : { workerId: id }),
      ...(threads === undefined ? {} : { threads }),
      ...(device === undefined ? {} : { device }),
      ...(logDir === undefined ? {} : { logFolder: logDir }),
    })
    if (json) process.stdout.write(`${JSON.stringify({ event: 'ended', ...outcome })}\n`)
    else process.stdout.write(`worker ${outcome.workerId} finished after step ${outcome.lastStep}\n`)
    return 0
  } catch (thrown) {
    reportError(thrown, { json })
    return ending.status() ?? 1
  }
}

/** Loads TensorFlow's addon, which the worker will find loaded. What is wrong with it, the worker says. */
async function loadDevice(options: WorkerCommandOptions): Promise<void> {
  const threads = options.threads ?? os.availableParallelism()
  const prefer = options.device as DeviceKind | undefined
  try {
    const { kind } = await chooseDevice(prefer === undefined ? {} : { prefer })
    if (kind !== 'tensorflow-cpu' && kind !== 'tensorflow-cuda') return
    const places = runtimePlaces(kind === 'tensorflow-cuda' ? cudaWheel : cpuWheel)
    loadBinding({ places, threads: { intraOp: threads, interOp: threads } })
  } catch {
    // Tried again by the worker, whose error reaches the coordinator too.
  }
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise(resolve => {
    if (signal.aborted) resolve(undefined)
    else signal.addEventListener('abort', () => resolve(undefined), { once: true })
  })
}

function launcherGone(): SkeinError {
  const todo = 'nothing; it was asked for'
  return new SkeinError(CoreErrors.ABORTED, { what: 'the launcher of this process is gone', todo })
}

function noAddress(): SkeinError {
  return new SkeinError(CliErrors.USAGE, {
    what: '--join - found no address on stdin',
    why: 'stdin ended before its first line, so the launcher is gone',
    todo: 'pass the address itself: --join http://HOST:PORT',
  })
}

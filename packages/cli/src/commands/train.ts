import { randomBytes } from 'node:crypto'
import os from 'node:os'
import { sleep } from '@skein/core'
import { chooseDevice, type DeviceKind, mallocEnvironment } from '@skein/device'
import type { Environment } from '../environment.ts'
import { errorOfEvent } from '../error-event.ts'
import { keepToken } from '../find-run.ts'
import { followEvents } from '../follow-events.ts'
import { childFailed, launchLocal, type LocalRun, threadsPerWorker } from '../launch/launch-local.ts'
import { StopRequests } from '../launch/stop-requests.ts'
import { type JobOptions, jobFlags, loadForRun, type RunToStart } from '../load-for-run.ts'
import { reportError, tellSkipped } from '../report-error.ts'
import type { RunEvent } from '../run-event.ts'
import { faceKind, openFace, type RunFace } from '../view/run-face.ts'
import { summaryLines } from '../view/summary.ts'

export interface TrainCommandOptions extends JobOptions {
  readonly jobFile: string
  readonly port?: number
  readonly device?: string
  readonly json: boolean
  readonly plain: boolean
  readonly environment: Environment
}

/** Time for the processes to end by themselves after the run is over. */
const endMs = 10_000
/** Time between SIGTERM and SIGKILL. */
const graceMs = 3000
/** Time for the coordinator to say why a process is missing, before the launcher says what it saw itself. */
const reasonMs = 4000

/**
 * `skein train`: starts a coordinator and N workers on this machine, follows the run's events and shows them. Holds no
 * logic of training. Status: 0 trained, or stopped by Ctrl-C with a checkpoint · 1 failed · 128+n ended by signal n.
 */
export async function train(options: TrainCommandOptions): Promise<number> {
  const { json } = options
  const prefer = options.device as DeviceKind | undefined
  const [run, choice] = await Promise.all([
    loadForRun(options.jobFile, options, options.environment.store),
    chooseDevice(prefer === undefined ? {} : { prefer }),
  ])
  if (choice.warning !== undefined) process.stderr.write(`${choice.warning}\n`)
  tellSkipped(run.skipped, json)
  const token = randomBytes(24).toString('base64url')
  const face = openFace({
    kind: faceKind(options, process.stdout.isTTY),
    jobName: run.name,
    out: process.stdout,
    colours: process.stdout.hasColors?.() ?? false,
  })
  using stops = new StopRequests({ token, onNote: note => face.onNote(note, 'stopping') })
  let launched: LocalRun | undefined
  let forgetToken: (() => void) | undefined
  try {
    launched = await launch(run, options, token, stops)
    // Not before: the folder may be that of a run that goes on, whose token it holds.
    forgetToken = keepToken(run.runDir, token)
    stops.coordinatorAt(launched.url)
    const last = await lastEvent(launched, { token, face, stops, runDir: run.runDir })
    face.close()
    if (last.event === 'error') {
      // With --json the run's own error line was printed already; a second one would be another error to a program.
      if (!json) reportError(errorOfEvent(withLastWords(last, launched)), { json, runDir: run.runDir })
      return stops.failedStatus
    }
    await Promise.race([launched.ended, sleep(endMs)])
    if (!json) process.stdout.write(`${summaryLines(face.view, last).join('\n')}\n`)
    return stops.endedStatus
  } catch (thrown) {
    face.close()
    reportError(stops.interrupted ?? thrown, { json, runDir: run.runDir })
    return stops.failedStatus
  } finally {
    face.close()
    await launched?.stop(graceMs)
    forgetToken?.()
  }
}

function launch(run: RunToStart, options: TrainCommandOptions, token: string, stops: StopRequests): Promise<LocalRun> {
  const { port, device } = options
  return launchLocal(
    {
      numWorkers: run.numWorkers,
      runDir: run.runDir,
      token,
      threads: threadsPerWorker(os.availableParallelism(), run.numWorkers),
      env: { ...mallocEnvironment, ...process.env },
      coordinatorArgs: [
        '--job',
        run.jobFile,
        '--workers',
        String(run.numWorkers),
        '--run-dir',
        run.runDir,
        ...(port === undefined ? [] : ['--port', String(port)]),
        ...(run.resume === undefined ? [] : ['--resume', run.resume]),
        ...jobFlags(options),
      ],
      ...(device === undefined ? {} : { device }),
    },
    kill => stops.killWith(kill),
  )
}

/**
 * The run's `done` or `error` event. A child that ends early is explained by the coordinator, which is given a moment for it;
 * what the launcher saw itself is the second best. @throws SkeinError when there is no such event to come
 */
async function lastEvent(
  launched: LocalRun,
  context: {
    readonly token: string
    readonly face: RunFace
    readonly stops: StopRequests
    readonly runDir: string
  },
): Promise<RunEvent> {
  const { token, face, stops, runDir } = context
  const following = new AbortController()
  const onEvent = (event: RunEvent) => face.onEvent(event)
  const stream = followEvents({ urls: [launched.url], token, onEvent, signal: following.signal })
  try {
    const ending = await Promise.race([
      stream.then(event => ({ event })),
      launched.failed.then(failure => ({ failure })),
      stops.gaveUp.then(error => Promise.reject(error)),
    ])
    if ('event' in ending && ending.event !== undefined) return ending.event
    const failure = 'failure' in ending ? ending.failure : await launched.failed
    const explained = await Promise.race([stream.catch(() => undefined), sleep(reasonMs).then(() => undefined)])
    if (explained !== undefined) return explained
    throw stops.interrupted ?? childFailed(failure, runDir)
  } finally {
    following.abort()
    stream.catch(() => undefined)
  }
}

/** The error event with what the worker it names last wrote to stderr, for the block that people read. */
function withLastWords(event: RunEvent, launched: LocalRun): RunEvent {
  const details = { ...(event['details'] as Readonly<Record<string, unknown>> | undefined) }
  const failure = launched.failures().find(one => one.name === event['workerId'])
  if (failure === undefined || failure.lastWords === '') return event
  return { ...event, details: { ...details, lastWords: failure.lastWords } }
}

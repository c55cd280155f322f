import { randomBytes } from 'node:crypto'
import type http from 'node:http'
import path from 'node:path'
import type { StoreEnvironment } from '@skein/checkpoint'
import { type Clock, SkeinError, systemClock } from '@skein/core'
import type { MembershipConfig } from '@skein/membership'
import type { Logger } from '@skein/telemetry'
import { checkTlsIdentity, ConnectionGuard, createHttpServer, Refusals } from '@skein/transport'
import { encodeCoordinatorMessage } from '@skein/wire'
import fastify from 'fastify'
import { type Access, accessOf, plainWarning } from './access.ts'
import { attachWorkers } from './attach-workers.ts'
import { type CoordinatorConfig, type CoordinatorConfigInput, parseConfig } from './config.ts'
import { Coordinator, type RunOutcome } from './coordinator.ts'
import { CoordinatorErrors } from './errors.ts'
import { EventFeed } from './event-feed.ts'
import { addRoutes } from './http-routes.ts'
import { keepWhy } from './keep-why.ts'
import type { StandingBy } from './etcd/lead.ts'
import { listenOn, urlOf } from './listen.ts'
import { openLog } from './open-log.ts'
import { assertHasRun, recover } from './recover.ts'
import { Resources } from './resources.ts'
import { makeFolder, openLogger } from './run-folder.ts'
import { type LoggedEnding, pastOf, type RunHistory } from './run-history.ts'

export type CoordinatorOptions = CoordinatorConfigInput & {
  readonly clock?: Clock
  /** Stays the caller's. Where missing, one is made that writes to `runDir/logs/coordinator.log`. */
  readonly logger?: Logger
  /** For the logger that is made here. */
  readonly logLevel?: string
  /** Variables by which a checkpoint on S3 is reached. */
  readonly storeEnvironment?: StoreEnvironment
  /** With etcd: another one leads, and this one waits. */
  readonly onStandBy?: (facts: StandingBy) => void
  /** Aborting it asks for the run's end after the steps under way, as `stop` does. */
  readonly signal?: AbortSignal
  /** With etcd: aborting it lets another coordinator lead at once. The run goes on there; `finished` here fails with SKEIN_COORDINATOR_RESIGNED. */
  readonly resign?: AbortSignal
}

export interface RunningCoordinator {
  /** http(s) URL for workers and readers on this machine. */
  readonly url: string
  readonly port: number
  /** What workers must show: the given token or the drawn one. */
  readonly token: string
  /** What whoever started it should be told, if anything. */
  readonly warning: string | undefined
  /** Resolves when the run is over and readers and workers have heard of it; never rejects. The port stays open until `close`. */
  readonly finished: Promise<RunOutcome>
  /** All workers finish the steps under way and save; see `finished`. Idempotent. */
  stop(reason: string): void
  /** Ends everything now: a run that has not ended fails with SKEIN_COORDINATOR_CLOSED. Idempotent. */
  close(): Promise<void>
}

const tickMs = 100
/** Connections beyond one for each worker, event stream and stranger: links that come again, and readers with the token. */
const spareConnections = 256
const strangerMs = 10_000
const requestTimeoutMs = 20_000

/**
 * Leads one run: takes its folder, opens its log and its port, and follows what membership decides.
 * @throws SKEIN_TRANSPORT_TLS_IDENTITY, SKEIN_COORDINATOR_BAD_OPTIONS, _TOKEN_NEEDED, _ALREADY_RUNNING, _RUN_EXISTS, _STORE_FAILED, _PORT_IN_USE,
 * _LISTEN_FAILED, and what a broken checkpoint throws; nothing is left open then
 */
export async function startCoordinator(options: CoordinatorOptions): Promise<RunningCoordinator> {
  const { clock = systemClock, logger, logLevel, signal, resign, storeEnvironment = {}, onStandBy, ...input } = options
  const config = parseConfig({ ...input, job: asJson(input.job) })
  if (config.etcd !== undefined && config.token === undefined) throw sharedTokenNeeded()
  const access = accessOf(config.host, config.token)
  if (config.tls !== undefined) checkTlsIdentity(config.tls, Date.now())
  const resources = new Resources()
  try {
    return await open({
      config,
      access,
      clock,
      logger,
      logLevel,
      signal,
      resign,
      storeEnvironment,
      onStandBy,
      resources,
    })
  } catch (error) {
    await resources.close()
    throw error
  }
}

async function open(parts: {
  readonly config: CoordinatorConfig
  readonly access: Access
  readonly clock: Clock
  readonly logger: Logger | undefined
  readonly logLevel: string | undefined
  readonly signal: AbortSignal | undefined
  readonly resign: AbortSignal | undefined
  readonly storeEnvironment: StoreEnvironment
  readonly onStandBy: ((facts: StandingBy) => void) | undefined
  readonly resources: Resources
}): Promise<RunningCoordinator> {
  const { config, access, clock, signal, resign, resources } = parts
  const runDir = path.resolve(config.runDir)
  makeFolder(runDir)
  const ownLogger = openLogger(parts, runDir).child({ pkg: 'coordinator' })
  const refusals = new Refusals(ownLogger, clock)
  const {
    log,
    leadership,
    port: ownPort,
    publish,
  } = await openLog({
    ...parts,
    // Whoever stands by leads nothing yet: either ends it.
    signal: AbortSignal.any([signal, resign].filter(one => one !== undefined)),
    runDir,
    logger: ownLogger,
    refusals,
  })
  const history = await log.read()
  if (config.continueRun) assertHasRun(history, runDir)
  const runId = config.runId ?? history.runId ?? path.basename(runDir)
  // Who leads after another one goes on with its run.
  const continueRun = config.continueRun || (leadership !== undefined && config.resume === undefined)
  if (leadership !== undefined && history.ending !== undefined && continueRun && !config.continueRun) {
    await resources.close()
    return endedBefore(history, history.ending, urlOf(config.host, ownPort, config.tls !== undefined), ownPort, access)
  }
  const logger = ownLogger.child({ runId })
  const { recovered, skipped } = await recover({
    config: { ...config, continueRun },
    history,
    runDir,
    environment: parts.storeEnvironment,
    logger,
  })

  await log.beginLife({ runId, job: config.job, resume: recovered.checkpoint?.path, startStep: recovered.step })
  const feed = new EventFeed(log)
  const { joinTimeoutMs, lingerMs, maxEventStreams } = config
  const membership = membershipConfig(config, runId, runDir)
  assertWelcomeTravels(membership)
  const coordinator = new Coordinator({
    config: membership,
    log,
    feed,
    clock,
    logger,
    joinTimeoutMs,
    lingerMs,
    laneKey: randomBytes(32).toString('hex'),
    refusals,
  })
  leadership?.onLost(error => coordinator.stepDown(error))
  await coordinator.begin(recovered, skipped, nameOf(config.job))

  const { tls, maxStrangers } = config
  const guard = new ConnectionGuard({ maxStrangers, strangerMs, refusals, clock })
  const server = fastify({
    logger: false,
    bodyLimit: 4096,
    forceCloseConnections: true,
    // The guard has answered already.
    clientErrorHandler: () => undefined,
    serverFactory: onRequest =>
      // Fastify's type of a server is the plain one; it treats both alike.
      createHttpServer({ onRequest, guard, requestTimeoutMs, tls }) as http.Server,
  })
  server.server.maxConnections = config.maxWorkers + maxEventStreams + maxStrangers + spareConnections
  resources.own(server, opened => opened.close())
  addRoutes(server, { coordinator, feed, access, guard, maxEventStreams })
  resources.own(attachWorkers(server.server, { coordinator, access, config, clock, logger }), attached =>
    attached.close(),
  )
  const port = await listenOn(server, config.host, ownPort)
  const url = urlOf(config.host, port, tls !== undefined)
  const warning = plainWarning(config.host, tls !== undefined)
  publish({ pid: process.pid, url, runId, ...(tls?.ca === undefined ? {} : { ca: tls.ca }) })

  resources.own(
    setInterval(() => coordinator.tick(), tickMs),
    clearInterval,
  )
  const stop = (reason: string) => coordinator.apply({ type: 'stopRequested', reason })
  const onAbort = () => stop(abortReason(signal))
  resources.own(signal, () => signal?.removeEventListener('abort', onAbort))
  if (signal?.aborted === true) onAbort()
  else signal?.addEventListener('abort', onAbort, { once: true })
  let resigning: Promise<void> | undefined
  const onResign = () => {
    if (leadership === undefined || coordinator.hasEnded) return
    coordinator.stepDown(resignedError(runId))
    resigning = leadership.resign()
  }
  resources.own(resign, () => resign?.removeEventListener('abort', onResign))
  if (resign?.aborted === true) onResign()
  else resign?.addEventListener('abort', onResign, { once: true })
  const { host, numWorkers } = config
  logger.info({ host, port, isTls: tls !== undefined, numWorkers, startStep: recovered.step }, 'coordinator.listening')
  if (warning !== undefined) logger.warn({ reason: warning }, 'coordinator.plain')

  const finished = coordinator.finished.then(async outcome => {
    await resigning
    if (outcome.status === 'failed' && resigning === undefined) await keepLastWhy(coordinator, runDir, logger)
    return outcome
  })

  const close = async () => {
    if (!coordinator.hasEnded) {
      coordinator.apply({ type: 'coordinatorFailed', error: closedError(runId).toJSON() })
    }
    await finished
    await resources.close()
  }
  let closing: Promise<void> | undefined
  return {
    url,
    port,
    token: access.token,
    warning,
    finished,
    stop,
    close() {
      closing ??= close()
      return closing
    },
  }
}

/** The run was over before this coordinator came to lead it. */
function endedBefore(
  history: RunHistory,
  { status, reason }: LoggedEnding,
  url: string,
  port: number,
  { token }: Access,
): RunningCoordinator {
  const { lastStep, lastCheckpoint } = pastOf(history)
  const outcome = { status, reason, steps: lastStep, checkpoint: lastCheckpoint?.path ?? null }
  return {
    url,
    port,
    token,
    warning: undefined,
    finished: Promise.resolve(outcome),
    stop: () => undefined,
    close: () => Promise.resolve(),
  }
}

/** A full disk must not hide how the run ended. */
async function keepLastWhy(coordinator: Coordinator, runDir: string, logger: Logger): Promise<void> {
  try {
    keepWhy(runDir, await coordinator.why())
  } catch (error) {
    logger.warn({ err: error }, 'why.not-kept')
  }
}

/** What JSON keeps of it: a job file in TypeScript may have functions, which workers load from the file themselves. */
function asJson(job: unknown): unknown {
  return JSON.parse(JSON.stringify(job) ?? 'null')
}

function membershipConfig(config: CoordinatorConfig, runId: string, runDir: string): MembershipConfig {
  const {
    job,
    jobFile,
    parts,
    replicas,
    numWorkers,
    minWorkers,
    maxWorkers,
    globalBatch,
    shares,
    totalSteps,
    mirrorEvery,
    deadlines,
  } = config
  return {
    runId,
    runDir,
    job,
    parts,
    replicas,
    numWorkers,
    minWorkers,
    maxWorkers,
    globalBatch,
    shares,
    totalSteps,
    mirrorEvery,
    laneSecret: randomBytes(16).toString('hex'),
    deadlines,
    ...(jobFile === undefined ? {} : { jobFile }),
  }
}

/** A job that no message can carry is refused here, not when the first worker joins. @throws SKEIN_WIRE_MESSAGE_… */
function assertWelcomeTravels({ runId, runDir, job, maxWorkers }: MembershipConfig): void {
  encodeCoordinatorMessage({ type: 'welcome', runId, runDir, job, maxWorkers })
}

function nameOf(job: unknown): string | undefined {
  return typeof job === 'object' && job !== null && 'name' in job && typeof job.name === 'string' ? job.name : undefined
}

function abortReason(signal: AbortSignal | undefined): string {
  const reason: unknown = signal?.reason
  return reason instanceof Error ? reason.message : String(reason)
}

const sharedTokenNeeded = (): SkeinError =>
  new SkeinError(CoordinatorErrors.BAD_OPTIONS, {
    what: 'token: coordinators that share a run in etcd need the same token, and none was given',
    why: 'a token that each of them drew would let workers in at one of them only',
    todo: 'pass the same --token (or SKEIN_TOKEN) to all of them and to the workers',
  })

const resignedError = (runId: string): SkeinError =>
  new SkeinError(CoordinatorErrors.RESIGNED, {
    what: `this coordinator leads run ${runId} no more`,
    why: 'its process was told to end, and another one may lead',
    todo: 'nothing where another coordinator stands by; else start one again: the run goes on where its log ends',
  })

const closedError = (runId: string): SkeinError =>
  new SkeinError(CoordinatorErrors.CLOSED, {
    what: `the coordinator of run ${runId} was closed before the run had ended`,
    why: 'its process was told to end',
    todo: 'start the run again with --resume to go on from its last checkpoint',
  })

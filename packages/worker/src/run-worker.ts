import { randomBytes } from 'node:crypto'
import os from 'node:os'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import { asSkeinError, type SkeinError } from '@skein/core'
import { chooseDevice, type DeviceKind } from '@skein/device'
import { createLogger } from '@skein/telemetry'
import { assertMayListen } from './assert-may-listen.ts'
import { CommClient } from './comm-client.ts'
import type { WorkerOptions, WorkerOutcome } from './options.ts'
import type { CommStart } from './thread-messages.ts'
import { trainMember } from './train-member.ts'

/** Name of a worker that was given none: host, process, a random suffix. Sorts by nothing in particular. */
function drawnWorkerId(): string {
  return `${os.hostname()}-${process.pid}-${randomBytes(2).toString('hex')}`
}

/**
 * One worker from join to the end of the run. This thread becomes the device thread; it starts the comm thread first, so that
 * joining and loading TensorFlow overlap.
 *
 * Resolves when the coordinator ends the run well; rejects with the SkeinError that ended it otherwise (a lost peer, a refused
 * join, …), after every socket is closed and the coordinator was told.
 */
export async function runWorker(options: WorkerOptions): Promise<WorkerOutcome> {
  assertMayListen(options)
  const workerId = options.workerId ?? drawnWorkerId()
  const threads = options.threads ?? os.availableParallelism()
  const logLevel = options.logLevel ?? 'info'
  const logFile = (thread: string) =>
    options.logFolder === undefined ? undefined : path.join(options.logFolder, `${workerId}.${thread}.log`)
  const file = logFile('device')
  const logger = createLogger({
    level: logLevel,
    bindings: { workerId, pkg: 'worker' },
    ...(file === undefined ? {} : { file }),
  })
  const choice = await chooseDevice(options.device === undefined ? {} : { prefer: options.device as DeviceKind })
  if (choice.warning !== undefined) logger.warn({ reason: choice.warning }, 'device.slow')
  const lastOver = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
  const numPieces = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
  const start: CommStart = {
    coordinatorUrls: options.join,
    token: options.token,
    workerId,
    lastOver,
    numPieces,
    laneHost: options.advertiseHost ?? '127.0.0.1',
    lanePort: options.advertisePort,
    listenHost: options.listenHost ?? '127.0.0.1',
    listenPort: options.listenPort ?? 0,
    laneKind: options.laneKind ?? 'raw',
    localLanes: options.localLanes ?? true,
    tls: options.tls,
    device: { backend: choice.kind, version: choice.version, threads },
    heartbeat: { intervalMs: 1000, deadAfterMs: 5000 },
    timeouts: {
      joinMs: options.joinTimeoutMs ?? 20_000,
      reconnectMs: options.reconnectTimeoutMs ?? 120_000,
      connectMs: 5_000,
      peerMs: 30_000,
    },
    log: { file: logFile('comm'), level: logLevel },
  }
  const thread = new Worker(new URL('./comm-thread.js', import.meta.url), { workerData: start, name: 'skein-comm' })
  const comm = new CommClient(thread, workerId, start)
  const unlisten = [
    whenAborted(options.signal, reason => comm.fail(reason)),
    whenAborted(options.leave, reason => comm.leave(reason)),
  ]
  try {
    const outcome = await trainMember({
      comm,
      choice,
      threads,
      workerId,
      logger,
      environment: options.environment ?? {},
    })
    return { workerId, ...outcome }
  } catch (thrown) {
    const error = asSkeinError(thrown)
    logger.error({ code: error.code, reason: error.message, stack: error.stack }, 'worker.failed')
    comm.tell({ type: 'failed', error: error.toJSON() })
    throw error
  } finally {
    for (const stop of unlisten) stop()
    await comm.close()
    await logger.close()
  }
}

/** Hears of the abort, also of one that came before: a device takes a while to choose. Returns what ends that. */
function whenAborted(signal: AbortSignal | undefined, act: (reason: SkeinError) => void): () => void {
  const onAbort = () => act(asSkeinError(signal?.reason))
  if (signal?.aborted) onAbort()
  signal?.addEventListener('abort', onAbort, { once: true })
  return () => signal?.removeEventListener('abort', onAbort)
}

import { SkeinError, sleep, systemClock } from '@skein/core'
import type { Logger } from '@skein/telemetry'
import { type ControlLink, dialControl, TransportErrors } from '@skein/transport'
import { WorkerErrors } from './errors.ts'
import type { CommStart } from './thread-messages.ts'

const firstPauseMs = 50
const longestPauseMs = 1_000
/** For one attempt: a network that swallows it may be whole by the next one. */
const attemptMs = 5_000

/** Nobody is there, or not yet. */
const absentCodes: ReadonlySet<string> = new Set([
  TransportErrors.UNREACHABLE.code,
  TransportErrors.HANDSHAKE_TIMEOUT.code,
])

/**
 * Opens the control link. A coordinator that does not answer yet is tried again, with growing pauses, until the join timeout: workers
 * and coordinator may be started in any order. Everything else (a wrong token, say) is final.
 */
export async function joinCoordinator(options: {
  readonly start: CommStart
  readonly timeoutMs: number
  readonly signal: AbortSignal
  readonly logger: Logger
}): Promise<ControlLink> {
  const { start, timeoutMs, signal, logger } = options
  const deadlineMs = systemClock.now() + timeoutMs
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(2 * pauseMs, longestPauseMs)) {
    try {
      return await dialControl({
        url: start.coordinatorUrl,
        token: start.token ?? '',
        ...(start.tls === undefined ? {} : { tls: start.tls }),
        heartbeat: start.heartbeat,
        timeoutMs: Math.min(attemptMs, Math.max(1_000, deadlineMs - systemClock.now())),
        signal,
      })
    } catch (thrown) {
      const isAbsent = thrown instanceof SkeinError && absentCodes.has(thrown.code)
      if (!isAbsent) throw thrown
      if (systemClock.now() + pauseMs >= deadlineMs) throw unreachable(start, timeoutMs, thrown)
      logger.debug({ reason: thrown.what, waitMs: pauseMs }, 'join.retry')
      await sleep(pauseMs, signal)
    }
  }
}

function unreachable(start: CommStart, timeoutMs: number, cause: SkeinError): SkeinError {
  return new SkeinError(WorkerErrors.COORDINATOR_UNREACHABLE, {
    what: `no coordinator answered at ${start.coordinatorUrl} for ${timeoutMs} ms`,
    why: `${cause.what}: it is not running, listens elsewhere, or a firewall is between`,
    todo: 'start it, and compare the address with the one it printed',
    details: { url: start.coordinatorUrl, timeoutMs },
    cause,
  })
}

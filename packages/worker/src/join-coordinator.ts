import { randomInt } from 'node:crypto'
import { SkeinError, sleep, systemClock } from '@skein/core'
import type { Logger } from '@skein/telemetry'
import { attemptOfSeveralMs, type ControlLink, dialControl, dialInTurn, isStandby } from '@skein/transport'
import { WorkerErrors } from './errors.ts'
import type { CommStart } from './thread-messages.ts'

const firstPauseMs = 50
const longestPauseMs = 1_000
/** For one attempt where there is one coordinator only: a network that swallows it may be whole by the next one. */
const attemptMs = 5_000

/** A link to the coordinator that leads, and where that was found. */
export interface Joined {
  readonly link: ControlLink
  readonly url: string
}

/**
 * Opens the control link to the coordinator of `urls` that leads. Where none answers yet, or all stand by, they are tried again in turn, with
 * growing pauses, until the join timeout: workers and coordinators may be started in any order. Everything else (a wrong token, say) is final.
 */
export async function joinCoordinator(options: {
  readonly start: Pick<CommStart, 'token' | 'tls' | 'heartbeat'>
  readonly urls: readonly string[]
  readonly timeoutMs: number
  readonly signal: AbortSignal
  readonly logger: Logger
}): Promise<Joined> {
  const { start, urls, timeoutMs, signal, logger } = options
  const deadlineMs = systemClock.now() + timeoutMs
  const longestMs = urls.length > 1 ? attemptOfSeveralMs : attemptMs
  const dial = async (url: string): Promise<Joined> => {
    const link = await dialControl({
      url,
      token: start.token ?? '',
      ...(start.tls === undefined ? {} : { tls: start.tls }),
      heartbeat: start.heartbeat,
      timeoutMs: Math.min(longestMs, Math.max(1_000, deadlineMs - systemClock.now())),
      signal,
    })
    return { link, url }
  }
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(2 * pauseMs, longestPauseMs)) {
    try {
      return await dialInTurn(urls, dial)
    } catch (thrown) {
      if (!(thrown instanceof SkeinError) || thrown.retry !== 'same-op') throw thrown
      // Those who lost the same coordinator do not come back in step.
      const waitMs = randomInt(pauseMs / 2, pauseMs + 1)
      if (systemClock.now() + waitMs >= deadlineMs) throw unreachable(urls, timeoutMs, thrown)
      logger.debug({ code: thrown.code, reason: thrown.what, waitMs }, 'join.retry')
      await sleep(waitMs, signal)
    }
  }
}

function unreachable(urls: readonly string[], timeoutMs: number, cause: SkeinError): SkeinError {
  const places = urls.join(', ')
  const isLeaderless = isStandby(cause)
  return new SkeinError(WorkerErrors.COORDINATOR_UNREACHABLE, {
    what: isLeaderless
      ? `of the coordinators at ${places} none took the lead for ${timeoutMs} ms`
      : `no coordinator answered at ${places} for ${timeoutMs} ms`,
    why: isLeaderless
      ? `${cause.what}, ${cause.why}: the one that leads cannot be reached from here, or their store does not answer`
      : `${cause.what}: it is not running, listens elsewhere, or a firewall is between`,
    todo: isLeaderless
      ? 'name all coordinators of the run, and look at the log of one that stands by'
      : 'start it, and compare the address with the one it printed',
    details: { urls, timeoutMs },
    cause,
  })
}

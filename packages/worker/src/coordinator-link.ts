import { randomBytes, randomInt } from 'node:crypto'
import { SkeinError, sleep, systemClock } from '@skein/core'
import type { Logger } from '@skein/telemetry'
import type { ControlLink } from '@skein/transport'
import { type CoordinatorMessage, protocolVersion, type WorkerMessage } from '@skein/wire'
import { WorkerErrors } from './errors.ts'
import { joinCoordinator } from './join-coordinator.ts'
import type { CommStart } from './thread-messages.ts'

/** Not all workers come back in the same moment. */
const reconnectJitterMs = 200
/** Before another incarnation joins in place of one that was given up. */
const rejoinJitterMs = 500
/** Replaced so often, each time within this time of the last: two workers have one name, and this one gives way. */
const maxReplaced = 3
const replacedWithinMs = 60_000
/** The coordinator's word for it. */
const replacedCode = 'SKEIN_MEMBERSHIP_REPLACED'

export type JoinFacts = Pick<Extract<WorkerMessage, { type: 'join' }>, 'lane' | 'holds' | 'keeps'>

export interface CoordinatorLinkOptions {
  readonly start: CommStart
  readonly logger: Logger
  /** Ends every attempt; a link that ends after that is not opened again. */
  readonly closing: AbortSignal
  /** Whether anything more is expected of the coordinator: else a link that ends is not opened again either. */
  readonly isWanted: () => boolean
  /** Said at every join: where peers find this worker, and what it holds by then. */
  readonly facts: () => JoinFacts
  readonly onMessage: (message: CoordinatorMessage) => void
  /** The link is gone: nothing that was under way over it goes on. It is opened again. */
  readonly onLost: (error: SkeinError) => void
  /** It cannot be opened again. */
  readonly onFailed: (thrown: unknown) => void
}

/**
 * A worker's link to whichever coordinator leads the run: joins over it, opens it again when it breaks, and joins as another incarnation when this one
 * was given up. What the worker holds goes with every join.
 */
export class CoordinatorLink {
  readonly #options: CoordinatorLinkOptions
  #incarnation = newIncarnation()
  #link: ControlLink | undefined
  /** As they are tried: one that was lost is the last. */
  #urls: readonly string[]
  #replacedMs: number[] = []

  constructor(options: CoordinatorLinkOptions) {
    this.#options = options
    this.#urls = options.start.coordinatorUrls
  }

  /** Opens the link and asks to be a member. @throws what `joinCoordinator` throws */
  async join(timeoutMs: number): Promise<void> {
    const { start, logger, closing, facts, onMessage } = this.#options
    const { link, url } = await joinCoordinator({ start, urls: this.#urls, timeoutMs, signal: closing, logger })
    logger.info({ url }, 'coordinator.found')
    this.#link = link
    link.onMessage(message => {
      if (link === this.#link) onMessage(message)
    })
    void link.closed.then(reason => {
      if (link === this.#link) this.#lost(url, reason.error)
    })
    this.tell({
      type: 'join',
      workerId: start.workerId,
      incarnation: this.#incarnation,
      protocol: protocolVersion,
      pid: process.pid,
      device: start.device,
      ...facts(),
    })
  }

  tell(message: WorkerMessage): void {
    // A link that is gone is reported by its own end.
    void this.#link?.send(message).catch(() => undefined)
  }

  /**
   * This incarnation was given up; another one of the same worker takes over. What it holds counts only where the log says the same. False: it
   * does not, another process has the name.
   */
  rejoin(error: SkeinError): boolean {
    if (error.code === replacedCode && this.#isReplacedForGood()) return false
    this.letGo('another incarnation takes over')
    this.#incarnation = newIncarnation()
    this.#options.logger.info({ incarnation: this.#incarnation }, 'worker.rejoins')
    this.#comeBack(randomInt(rejoinJitterMs))
    return true
  }

  /** Ends the link for good: whoever is at its other end hears nothing more, not even why. */
  letGo(reason: string): void {
    const link = this.#link
    this.#link = undefined
    void link?.close(reason)
  }

  async close(): Promise<void> {
    await this.#link?.close()
  }

  /** The coordinator is gone or leads no more, or this process was silent for too long: it comes back to whichever leads now. */
  #lost(url: string, error: SkeinError): void {
    const { logger, closing, isWanted, onLost } = this.#options
    if (!isWanted() || closing.aborted) return
    this.#link = undefined
    this.#urls = this.#urls.toSorted((a, b) => Number(a === url) - Number(b === url))
    logger.warn({ code: error.code, reason: error.message }, 'coordinator.lost')
    onLost(coordinatorLost(error))
    this.#comeBack(randomInt(reconnectJitterMs))
  }

  #isReplacedForGood(): boolean {
    const nowMs = systemClock.now()
    this.#replacedMs = [...this.#replacedMs.filter(ms => nowMs - ms < replacedWithinMs), nowMs]
    return this.#replacedMs.length >= maxReplaced
  }

  #comeBack(afterMs: number): void {
    const { start, closing, onFailed } = this.#options
    const again = async () => {
      await sleep(afterMs, closing)
      await this.join(start.timeouts.reconnectMs)
    }
    again().catch(onFailed)
  }
}

const newIncarnation = (): string => randomBytes(8).toString('hex')

const coordinatorLost = (cause: SkeinError): SkeinError =>
  new SkeinError(WorkerErrors.COORDINATOR_LOST, {
    what: `the coordinator is lost: ${cause.what}`,
    ...(cause.why === undefined ? {} : { why: cause.why }),
    todo: 'nothing, it is looked for; start it again if it has died',
    cause,
  })

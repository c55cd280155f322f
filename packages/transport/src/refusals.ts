import { type Clock, type Ms, systemClock } from '@skein/core'
import { type LogFields, type Logger, nullLogger } from '@skein/telemetry'

/** Why a connection or a request of a stranger was turned away, in the order in which it gets there. */
export const refusalReasons = [
  /** Too many had not shown the token yet; it was the oldest of the address with most of them. */
  'halfOpen',
  /** It took too long to its first whole request, to its next one, or to the token. */
  'slow',
  /** Neither HTTP nor TLS. */
  'garbage',
  'plainOnTls',
  'tlsOnPlain',
  'tlsHandshake',
  'noCertificate',
  'oversizedHead',
  /** A path, a method or headers that mean nothing here. */
  'badRequest',
  'noToken',
  'badToken',
  /** A proof that was used before. */
  'replayed',
  /** Lanes of a generation that is over or of other ranks, or that are open already. */
  'otherLane',
  /** A limit of links, lanes or readers that may be. */
  'tooMany',
  /** What came over a link was no message. */
  'badMessage',
  'noJoin',
] as const

export type RefusalReason = (typeof refusalReasons)[number]
/** Only those that have happened. */
export type RefusalCounts = Readonly<Partial<Record<RefusalReason, number>>>

/** Between two lines in the log for one reason. */
const quietMs: Ms = 10_000

/** Counts who was turned away at one port, and logs it so that a flood of strangers is no flood in the log. */
export class Refusals {
  readonly #logger: Logger
  readonly #clock: Clock
  readonly #counts = new Map<RefusalReason, number>()
  readonly #logged = new Map<RefusalReason, { readonly atMs: Ms; readonly count: number }>()

  constructor(logger: Logger = nullLogger, clock: Clock = systemClock) {
    this.#logger = logger
    this.#clock = clock
  }

  /** `facts` go to the log, for the first of each reason at once, then for one in ten seconds. */
  note(reason: RefusalReason, facts: LogFields = {}): void {
    const total = (this.#counts.get(reason) ?? 0) + 1
    this.#counts.set(reason, total)
    const last = this.#logged.get(reason)
    const now = this.#clock.now()
    if (last !== undefined && now - last.atMs < quietMs) return
    this.#logged.set(reason, { atMs: now, count: total })
    this.#logger.warn({ ...facts, reason, since: total - (last?.count ?? 0), total }, 'peer.refused')
  }

  counts(): RefusalCounts {
    return Object.fromEntries(
      refusalReasons.flatMap(reason => {
        const count = this.#counts.get(reason)
        return count === undefined ? [] : [[reason, count]]
      }),
    )
  }
}

import { asSkeinError, type Clock, type Ms, SkeinError, sleep } from '@skein/core'
import type { Logger } from '@skein/telemetry'
import { CoordinatorErrors } from '../errors.ts'
import type { CreatedAt, EtcdClient } from './etcd-client.ts'

export interface CampaignOptions {
  readonly client: EtcdClient
  /** Whoever creates it leads, as long as its lease lasts. */
  readonly key: string
  /** What others may know of the leader. */
  readonly url: string
  readonly ttlSeconds: number
  readonly clock: Clock
  readonly logger: Logger
  readonly signal: AbortSignal
  /** Another one leads; called when that is known first, and when it changes. */
  readonly onOther: (url: string) => void
}

/** Between two looks at who leads. */
const lookMs: Ms = 250
/** The part of its time-to-live for which a lease is believed, counted from before it was asked for: clocks run differently. */
const believed = 0.9

/** Stands by until nobody leads, then does. @throws SKEIN_ABORTED */
export async function campaign(options: CampaignOptions): Promise<Leadership> {
  const { client, key, url, ttlSeconds, clock, logger, signal, onOther } = options
  let known: string | undefined
  for (;;) {
    try {
      const [leader] = await client.range(key)
      if (leader === undefined) {
        const askedMs = clock.now()
        const lease = await client.grantLease(ttlSeconds)
        const revision = await client.putIf([{ key, createRevision: '0' }], [{ key, value: url, lease }])
        if (revision !== undefined) return new Leadership(options, lease, revision, askedMs)
        await client.revokeLease(lease)
      } else if (leader.value !== known) {
        known = leader.value
        onOther(known)
      }
    } catch (thrown) {
      // Without etcd nobody can lead: it is waited for.
      if (signal.aborted) throw asSkeinError(signal.reason)
      logger.warn({ err: asSkeinError(thrown) }, 'campaign.failed')
    }
    await sleep(lookMs, signal)
  }
}

/** The right to write a run's log, as long as its lease is renewed. Ends once: by `resign`, or when it cannot be renewed in time. */
export class Leadership {
  /** What every write is bound to. */
  readonly proof: CreatedAt
  readonly #options: CampaignOptions
  readonly #lease: string
  readonly #timer: ReturnType<typeof setInterval>
  #validUntilMs: Ms
  #isRenewing = false
  #isOver = false
  #onLost: (error: SkeinError) => void = () => undefined

  constructor(options: CampaignOptions, lease: string, createRevision: string, askedMs: Ms) {
    this.#options = options
    this.#lease = lease
    this.proof = { key: options.key, createRevision }
    this.#validUntilMs = askedMs + this.#believedMs
    // Looks more often than it renews: a process that was stopped notices at once when it wakes.
    this.#timer = setInterval(() => void this.#look(), Math.min(lookMs, (options.ttlSeconds * 1000) / 6))
  }

  /** By this process's own clock. */
  get isValid(): boolean {
    return !this.#isOver && this.#options.clock.now() < this.#validUntilMs
  }

  /** At most one listener; called once. */
  onLost(listener: (error: SkeinError) => void): void {
    this.#onLost = listener
  }

  /** @throws SKEIN_COORDINATOR_LEADERSHIP_LOST */
  assertValid(): void {
    if (!this.isValid) throw leadershipLost(this.#options.key)
  }

  /** Lets another one lead at once. Idempotent. */
  async resign(): Promise<void> {
    if (this.#isOver) return
    this.#end()
    await this.#options.client.revokeLease(this.#lease).catch(() => undefined)
  }

  get #believedMs(): Ms {
    return this.#options.ttlSeconds * 1000 * believed
  }

  async #look(): Promise<void> {
    const { clock, client, logger, ttlSeconds } = this.#options
    if (this.#isOver) return
    if (!this.isValid) {
      this.#lose()
      return
    }
    const isDue = this.#validUntilMs - clock.now() < this.#believedMs - (ttlSeconds * 1000) / 3
    if (this.#isRenewing || !isDue) return
    this.#isRenewing = true
    const askedMs = clock.now()
    try {
      if (await client.keepLease(this.#lease)) this.#validUntilMs = askedMs + this.#believedMs
      else this.#lose()
    } catch (thrown) {
      logger.warn({ err: asSkeinError(thrown) }, 'lease.not-renewed')
    } finally {
      this.#isRenewing = false
    }
  }

  #lose(): void {
    if (this.#isOver) return
    this.#end()
    this.#onLost(leadershipLost(this.#options.key))
  }

  #end(): void {
    this.#isOver = true
    clearInterval(this.#timer)
  }
}

export const leadershipLost = (key: string): SkeinError =>
  new SkeinError(CoordinatorErrors.LEADERSHIP_LOST, {
    what: `this coordinator does not lead the run any more (${key})`,
    why: 'its lease could not be renewed in time: etcd could not be reached, or this process stood still',
    todo: 'nothing for the run: another coordinator takes over; start this one again to have one that stands by',
  })

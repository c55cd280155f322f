import type { ErrorRecord, Ms } from '@skein/core'
import type { LinkId } from '@skein/membership'
import type { Logger } from '@skein/telemetry'
import type { CoordinatorMessage } from '@skein/wire'
import type { LinkFacts } from './status.ts'

/** The control link as the coordinator uses it; @skein/transport's fits. */
export interface ControlPort {
  /** Settles when the message is handed to the system; rejects when the link is closed or the message cannot travel. */
  send(message: CoordinatorMessage): Promise<void>
  /** Flushes, then closes; idempotent. */
  close(reason: string): void
}

interface Link extends LinkFacts {
  readonly port: ControlPort
  readonly openedMs: Ms
  hasJoined: boolean
  lastSeenMs: Ms
  progress: number
  step: number
  opsEntered: number
  waitsFor: readonly string[] | undefined
  movedMs: Ms
  /** What was sent last; settles, never rejects. */
  lastSend: Promise<void>
}

/** The open control links by the names that membership knows them by. */
export class Links {
  readonly #links = new Map<LinkId, Link>()
  readonly #logger: Logger
  #opened = 0

  constructor(logger: Logger) {
    this.#logger = logger
  }

  get size(): number {
    return this.#links.size
  }

  add(port: ControlPort, nowMs: Ms): LinkId {
    const id = `link-${++this.#opened}`
    const lastSend = Promise.resolve()
    this.#links.set(id, {
      port,
      openedMs: nowMs,
      hasJoined: false,
      lastSeenMs: nowMs,
      progress: 0,
      step: 0,
      opsEntered: 0,
      waitsFor: undefined,
      movedMs: nowMs,
      lastSend,
    })
    return id
  }

  has(id: LinkId): boolean {
    return this.#links.has(id)
  }

  facts(id: LinkId): LinkFacts | undefined {
    return this.#links.get(id)
  }

  /** Anything came over the link. */
  saw(id: LinkId, nowMs: Ms, said: Partial<Pick<Link, 'progress' | 'step' | 'opsEntered' | 'waitsFor'>> = {}): void {
    const link = this.#links.get(id)
    if (link === undefined) return
    const hasMoved = said.progress !== undefined && said.progress !== link.progress
    Object.assign(link, said, { lastSeenMs: nowMs }, hasMoved ? { movedMs: nowMs } : {})
  }

  /** For good: one that was let go keeps its link while it still writes to disk. */
  joined(id: LinkId): void {
    const link = this.#links.get(id)
    if (link !== undefined) link.hasJoined = true
  }

  /** A link that is closing or gone takes nothing more: that it is gone is reported by its own end. */
  send(id: LinkId, message: CoordinatorMessage): void {
    const link = this.#links.get(id)
    if (link === undefined) return
    link.lastSend = link.port.send(message).catch((error: unknown) => {
      this.#logger.warn({ link: id, message: message.type, err: error }, 'link.send-failed')
      link.port.close(`the message "${message.type}" could not be sent`)
    })
  }

  /** Tells the peer why, then closes. */
  refuse(id: LinkId, error: ErrorRecord): void {
    this.send(id, { type: 'refuse', error })
    this.close(id, error.what)
  }

  /** Closes after what was sent is out. */
  close(id: LinkId, reason: string): void {
    const link = this.#links.get(id)
    if (link === undefined) return
    void link.lastSend.then(() => link.port.close(reason))
  }

  remove(id: LinkId): void {
    this.#links.delete(id)
  }

  /** Links that have been open since before `openedBeforeMs` and have not joined. */
  silent(openedBeforeMs: Ms): LinkId[] {
    return [...this.#links].filter(([, link]) => !link.hasJoined && link.openedMs < openedBeforeMs).map(([id]) => id)
  }

  /** Settles when all that was sent on any link is out, or the links are gone. */
  async flushed(): Promise<void> {
    await Promise.all([...this.#links.values()].map(link => link.lastSend))
  }

  closeAll(reason: string): void {
    for (const id of this.#links.keys()) this.close(id, reason)
  }
}

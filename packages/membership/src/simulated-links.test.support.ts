import type { EventQueue } from './event-queue.test.support.ts'
import type { MembershipEvent } from './events.ts'
import type { CoordinatorMessage } from './messages.ts'
import type { LinkId } from './state.ts'

/** What stands at the far end of a control link. */
export interface LinkOwner {
  /** Lets it do something, now or when its process moves again. */
  awake(act: () => void): void
  hear(link: LinkId, message: CoordinatorMessage): void
  linkGone(link: LinkId): void
}

interface Link {
  readonly owner: LinkOwner
  /** Whether each end still takes the connection for whole. */
  hasWorkerEnd: boolean
  hasCoordinatorEnd: boolean
  /** Nothing is overtaken: when the last message in each direction arrives. */
  lastUpMs: number
  lastDownMs: number
}

/** So long nothing is heard over a link, and its other end counts as dead. */
export const silentMs = 5_000
const mostDelayMs = 20

/** The control links of a run: messages take their time, in order; connections break at both ends or at one. */
export class SimulatedLinks {
  readonly #queue: EventQueue
  readonly #delayMs: (most: number) => number
  readonly #coordinator: (event: MembershipEvent) => void
  readonly #links = new Map<LinkId, Link>()
  #opened = 0

  constructor(queue: EventQueue, delayMs: (most: number) => number, coordinator: (event: MembershipEvent) => void) {
    this.#queue = queue
    this.#delayMs = delayMs
    this.#coordinator = coordinator
  }

  get open(): LinkId[] {
    return [...this.#links.keys()]
  }

  add(owner: LinkOwner): LinkId {
    const id = `link-${++this.#opened}`
    this.#links.set(id, { owner, hasWorkerEnd: true, hasCoordinatorEnd: true, lastUpMs: 0, lastDownMs: 0 })
    return id
  }

  toCoordinator(id: LinkId, event: MembershipEvent): void {
    const link = this.#links.get(id)
    if (link === undefined || !link.hasWorkerEnd) return
    link.lastUpMs = Math.max(link.lastUpMs, this.#queue.nowMs + this.#delayMs(mostDelayMs))
    this.#queue.after(link.lastUpMs - this.#queue.nowMs, () => {
      if (link.hasCoordinatorEnd) this.#coordinator(event)
    })
  }

  toWorker(id: LinkId, message: CoordinatorMessage): void {
    const link = this.#links.get(id)
    if (link === undefined || !link.hasCoordinatorEnd) return
    link.lastDownMs = Math.max(link.lastDownMs, this.#queue.nowMs + this.#delayMs(mostDelayMs))
    this.#queue.after(link.lastDownMs - this.#queue.nowMs, () => {
      if (link.hasWorkerEnd) link.owner.awake(() => link.owner.hear(id, message))
    })
  }

  /** The connection is gone, with what was under way on it; both ends notice. */
  break(id: LinkId, reason: string, isSilent = false): void {
    const link = this.#links.get(id)
    if (link === undefined) return
    this.#links.delete(id)
    const { hasWorkerEnd, hasCoordinatorEnd } = link
    link.hasWorkerEnd = false
    link.hasCoordinatorEnd = false
    if (hasCoordinatorEnd)
      this.#queue.after(this.#delayMs(10), () => this.#coordinator({ type: 'linkLost', link: id, reason, isSilent }))
    if (hasWorkerEnd) this.#queue.after(this.#delayMs(10), () => link.owner.awake(() => link.owner.linkGone(id)))
  }

  /** Only the worker notices. What it had sent still arrives, and the coordinator waits until the link is silent for too long. */
  breakWorkerEnd(id: LinkId): void {
    const link = this.#links.get(id)
    if (link === undefined || !link.hasWorkerEnd) return
    link.hasWorkerEnd = false
    this.#queue.after(this.#delayMs(10), () => link.owner.awake(() => link.owner.linkGone(id)))
    this.#queue.after(silentMs, () => this.break(id, 'silent', true))
  }

  /** Ends it after what was sent on it has arrived. */
  close(id: LinkId, reason: string): void {
    const link = this.#links.get(id)
    if (link !== undefined)
      this.#queue.after(Math.max(0, link.lastDownMs - this.#queue.nowMs) + 1, () => this.break(id, reason))
  }
}

import type { Collectives, TensorRegion } from '@skein/collective'
import { SkeinError } from '@skein/core'
import type { PipelineStage, StageTensor } from '@skein/model'
import { leastSlots, receiveBuffers, type Schedule, type ScheduleOp, type TransferOp } from '@skein/schedule'
import { arenaAlignment, type Region } from '@skein/simd'
import { ParallelErrors } from '../errors.ts'
import { assertTagged, messageTag } from './message-tag.ts'

type Stages = ReadonlyMap<number, Pick<PipelineStage, 'inputElems' | 'outputElems'>>

export interface MailboxOptions {
  /** Lowered. */
  readonly schedule: Schedule
  /** In the schedule. */
  readonly rank: number
  readonly stages: Stages
  /** The rank in `group` of a rank in the schedule. */
  readonly groupRankOf: (rank: number) => number
  readonly group: Pick<Collectives, 'send' | 'recv'>
  readonly memory: WebAssembly.Memory
  /** At least `mailboxBytes`; the mailbox's alone. */
  readonly region: Region
}

/** Buffers for the messages between this rank and another. */
interface LinkPlan {
  readonly peer: number
  readonly sends: number
  readonly receives: number
  /** float32 of the largest message. */
  readonly elems: number
}

interface Slot {
  readonly region: TensorRegion
  readonly view: Float32Array
}

/** A message that is on its way, or here. */
interface Coming {
  readonly slot: Slot
  readonly elems: number
  readonly arrived: Promise<unknown>
}

/** How many bytes of shared memory the messages of a schedule need on one rank. */
export function mailboxBytes(schedule: Schedule, rank: number, stages: Stages): number {
  return planLinks(schedule, rank, stages).reduce(
    (sum, { sends, receives, elems }) => sum + (sends + receives) * paddedBytes(elems),
    0,
  )
}

/**
 * The messages of one rank: buffers in the shared memory, as many as the lists need and no more, and what is under way in them. A receive is
 * posted where the list says and waited for by the op that takes it; a send never blocks the device unless as many messages to that
 * rank are still under way as a link must be able to hold (`leastSlots`).
 */
export class Mailbox {
  readonly #options: MailboxOptions
  readonly #free = new Map<string, Slot[]>()
  readonly #waiting = new Map<string, (() => void)[]>()
  readonly #coming = new Map<number, Coming>()
  readonly #sends = new Set<Promise<unknown>>()
  #failure: unknown

  /** @throws SKEIN_PARALLEL_MESSAGE_MEMORY, SKEIN_PARALLEL_SCHEDULE_SIZE */
  constructor(options: MailboxOptions) {
    const { schedule, rank, stages, memory, region } = options
    assertTagged(schedule)
    this.#options = options
    const wanted = mailboxBytes(schedule, rank, stages)
    if (wanted > region.bytes) {
      throw new SkeinError(ParallelErrors.MESSAGE_MEMORY, {
        what: `the messages of rank ${rank} in the schedule ${schedule.name} need ${wanted} B, and there are ${region.bytes} B`,
        why: 'the memory was sized for another schedule, or for another number of microbatches',
        todo: 'size it by mailboxBytes',
        details: { wanted, bytes: region.bytes, name: schedule.name },
      })
    }
    let next = region.byteOffset
    const slots = (count: number, elems: number): Slot[] =>
      Array.from({ length: count }, () => {
        const byteOffset = next
        next += paddedBytes(elems)
        const view = new Float32Array(memory.buffer, byteOffset, elems)
        return { region: { byteOffset, elems, dtype: 'float32' }, view }
      })
    for (const { peer, sends, receives, elems } of planLinks(schedule, rank, stages)) {
      this.#free.set(`to ${peer}`, slots(sends, elems))
      this.#free.set(`from ${peer}`, slots(receives, elems))
    }
  }

  /** Posts a receive: from now on the message has a buffer. */
  post(op: TransferOp, step: number): void {
    const { schedule, group, groupRankOf, stages } = this.#options
    const slot = this.#free.get(`from ${op.peer}`)?.pop()
    if (slot === undefined)
      throw new Error(`no buffer is left for a message from rank ${op.peer}: the list is not lowered`)
    const elems = elemsOf(op, stages)
    const tag = messageTag(schedule, op, step)
    const arrived = group.recv({ ...slot.region, elems }, groupRankOf(op.peer), tag)
    // Awaited by the op that takes it; until then a failure must not count as unhandled.
    arrived.catch(() => undefined)
    this.#coming.set(tag, { slot, elems, arrived })
  }

  /** Waits for what was posted, and gives its values to `take`, which must not keep them. */
  async receive<T>(op: TransferOp, step: number, take: (values: Float32Array) => T): Promise<T> {
    const tag = messageTag(this.#options.schedule, op, step)
    const coming = this.#coming.get(tag)
    if (coming === undefined) throw new Error(`a message from rank ${op.peer} is not posted: the list is not lowered`)
    await coming.arrived
    this.#coming.delete(tag)
    const taken = take(coming.slot.view.subarray(0, coming.elems))
    this.#giveBack(`from ${op.peer}`, coming.slot)
    return taken
  }

  /** Takes the tensor over and sends its values; resolves when it is copied, not when it is sent. */
  async send(op: TransferOp, step: number, tensor: StageTensor): Promise<void> {
    const { schedule, group, groupRankOf } = this.#options
    const key = `to ${op.peer}`
    let slot: Slot | undefined
    try {
      while ((slot = this.#free.get(key)?.pop()) === undefined) await this.#oneGivenBack(key)
      if (this.#failure !== undefined) throw this.#failure
      tensor.copyTo(slot.view.subarray(0, tensor.elems))
    } finally {
      tensor.release()
    }
    const used = slot
    const sent = group
      .send({ ...used.region, elems: tensor.elems }, groupRankOf(op.peer), messageTag(schedule, op, step))
      .then(() => this.#giveBack(key, used))
      .catch((error: unknown) => this.#fail(error))
      .finally(() => this.#sends.delete(sent))
    this.#sends.add(sent)
  }

  /** Settles when everything sent has left its buffer. @throws what a send failed with */
  async flushed(): Promise<void> {
    await Promise.all(this.#sends)
    if (this.#failure !== undefined) throw this.#failure
  }

  #fail(error: unknown): void {
    this.#failure ??= error
    for (const waiting of this.#waiting.values()) for (const wake of waiting.splice(0)) wake()
  }

  #giveBack(key: string, slot: Slot): void {
    this.#free.get(key)?.push(slot)
    this.#waiting.get(key)?.shift()?.()
  }

  async #oneGivenBack(key: string): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    const waiting = this.#waiting.get(key) ?? []
    this.#waiting.set(key, waiting)
    await new Promise<void>(resolve => waiting.push(resolve))
    if (this.#failure !== undefined) throw this.#failure
  }
}

function planLinks(schedule: Schedule, rank: number, stages: Stages): LinkPlan[] {
  const receives = receiveBuffers(schedule)[rank] ?? new Map<number, number>()
  const elemsByPeer = new Map<number, number>()
  const sendsTo = new Set<number>()
  for (const op of schedule.ops[rank] ?? []) {
    if (!isTransferOp(op)) continue
    elemsByPeer.set(op.peer, Math.max(elemsByPeer.get(op.peer) ?? 0, elemsOf(op, stages)))
    if (op.op === 'sendActivation' || op.op === 'sendGradient') sendsTo.add(op.peer)
  }
  // One more than a deadlock could come of with fewer: one is filled while others are on their way.
  const slots = leastSlots(schedule) + 1
  return [...elemsByPeer].map(([peer, elems]) => ({
    peer,
    elems,
    sends: sendsTo.has(peer) ? slots : 0,
    receives: receives.get(peer) ?? 0,
  }))
}

const isTransferOp = (op: ScheduleOp): op is TransferOp => 'peer' in op

/** float32 of a message, known at either end. */
function elemsOf(op: TransferOp, stages: Stages): number {
  const stage = stages.get(op.stage)
  const isUpper = op.op === 'sendActivation' || op.op === 'recvGradient'
  return (isUpper ? stage?.outputElems(op.slice ?? 0) : stage?.inputElems(op.slice ?? 0)) ?? 0
}

const paddedBytes = (elems: number) => Math.ceil((elems * 4) / arenaAlignment) * arenaAlignment

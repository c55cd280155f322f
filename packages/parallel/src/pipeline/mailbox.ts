import type { Messages, TensorRegion, Transfer } from '@skein/collective'
import type { PipelineStage, StageTensor } from '@skein/model'
import { receiveBuffers, type Schedule, type ScheduleOp, sendBuffers, type TransferOp } from '@skein/schedule'
import type { Region } from '@skein/simd'
import { assertMessageMemory, paddedBytes } from './message-memory.ts'
import { assertTagged, messageTag } from './message-tag.ts'

type Stages = ReadonlyMap<number, Pick<PipelineStage, 'inputElems' | 'outputElems'>>

export interface MailboxOptions {
  /** Lowered. */
  readonly schedule: Schedule
  /** In the schedule. */
  readonly rank: number
  readonly stages: Stages
  /** The rank in the group of a rank in the schedule. */
  readonly groupRankOf: (rank: number) => number
  readonly messages: Messages
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
  readonly arrival: Transfer
}

/** Buffers to one rank: those that are free, and those on their way, the oldest first. */
interface Outbox {
  readonly free: Slot[]
  readonly underWay: { readonly slot: Slot; readonly transfer: Transfer }[]
}

/** How many bytes of shared memory the messages of a schedule need on one rank. */
export function mailboxBytes(schedule: Schedule, rank: number, stages: Stages): number {
  return bytesOf(planLinks(schedule, rank, stages))
}

/**
 * The messages of one rank: buffers in the shared memory, as many as the lists need and no more, and what is under way in them. A receive is
 * posted where the list says and waited for by the op that takes it; a send never blocks the device unless as many messages to that
 * rank are still under way as there are buffers for (`sendBuffers`).
 */
export class Mailbox {
  readonly #options: MailboxOptions
  readonly #free = new Map<number, Slot[]>()
  readonly #outboxes = new Map<number, Outbox>()
  readonly #coming = new Map<number, Coming>()

  /** @throws SKEIN_PARALLEL_MESSAGE_MEMORY, SKEIN_PARALLEL_SCHEDULE_SIZE */
  constructor(options: MailboxOptions) {
    const { schedule, rank, stages, memory, region } = options
    assertTagged(schedule)
    this.#options = options
    const links = planLinks(schedule, rank, stages)
    const wanted = bytesOf(links)
    assertMessageMemory(region, {
      wanted,
      whose: `the messages of rank ${rank} in the schedule ${schedule.name} need`,
      sizedBy: 'mailboxBytes',
      name: schedule.name,
    })
    let next = region.byteOffset
    const slots = (count: number, elems: number): Slot[] =>
      Array.from({ length: count }, () => {
        const byteOffset = next
        next += paddedBytes(elems * 4)
        const view = new Float32Array(memory.buffer, byteOffset, elems)
        return { region: { byteOffset, elems, dtype: 'float32' }, view }
      })
    for (const { peer, sends, receives, elems } of links) {
      this.#outboxes.set(peer, { free: slots(sends, elems), underWay: [] })
      this.#free.set(peer, slots(receives, elems))
    }
  }

  /** Posts a receive: from now on the message has a buffer. */
  post(op: TransferOp, step: number): void {
    const { schedule, messages, groupRankOf, stages } = this.#options
    const slot = this.#free.get(op.peer)?.pop()
    if (slot === undefined)
      throw new Error(`no buffer is left for a message from rank ${op.peer}: the list is not lowered`)
    const elems = elemsOf(op, stages)
    const tag = messageTag(schedule, op, step)
    const arrival = messages.recv({ ...slot.region, elems }, groupRankOf(op.peer), tag)
    this.#coming.set(tag, { slot, elems, arrival })
  }

  /** Waits for what was posted, and gives its values to `take`, which must not keep them. */
  async receive<T>(op: TransferOp, step: number, take: (values: Float32Array) => T): Promise<T> {
    const tag = messageTag(this.#options.schedule, op, step)
    const coming = this.#coming.get(tag)
    if (coming === undefined) throw new Error(`a message from rank ${op.peer} is not posted: the list is not lowered`)
    if (!coming.arrival.isDone) await coming.arrival.done()
    this.#coming.delete(tag)
    const taken = take(coming.slot.view.subarray(0, coming.elems))
    this.#free.get(op.peer)?.push(coming.slot)
    return taken
  }

  /** Waits for messages that nobody takes any more, of each rank in the order in which they come, and drops them; posted or not. */
  async discard(left: ReadonlyMap<number, readonly TransferOp[]>, step: number): Promise<void> {
    const { schedule } = this.#options
    await Promise.all(
      [...left.values()].map(async receives => {
        for (const receive of receives) {
          if (!this.#coming.has(messageTag(schedule, receive, step))) this.post(receive, step)
          await this.receive(receive, step, () => undefined)
        }
      }),
    )
  }

  /** Takes the tensor over and sends its values; resolves when it is copied, not when it is sent. */
  async send(op: TransferOp, step: number, tensor: StageTensor): Promise<void> {
    const { schedule, messages, groupRankOf } = this.#options
    const outbox = this.#outboxes.get(op.peer) as Outbox
    const { elems } = tensor
    try {
      while (takeBack(outbox) === 0) await outbox.underWay[0]?.transfer.done()
      const slot = outbox.free.pop() as Slot
      tensor.copyTo(slot.view.subarray(0, elems))
      const tag = messageTag(schedule, op, step)
      const transfer = messages.send({ ...slot.region, elems }, groupRankOf(op.peer), tag)
      messages.flush()
      outbox.underWay.push({ slot, transfer })
    } finally {
      tensor.release()
    }
  }

  /** Settles when everything sent has left its buffer. @throws what a send failed with */
  async flushed(): Promise<void> {
    for (const outbox of this.#outboxes.values()) {
      for (const { transfer } of outbox.underWay) if (!transfer.isDone) await transfer.done()
      takeBack(outbox)
    }
  }
}

/** Frees the buffers whose messages have left; how many are free then. */
function takeBack({ free, underWay }: Outbox): number {
  while (underWay[0]?.transfer.isDone === true) free.push(underWay.shift()?.slot as Slot)
  return free.length
}

function bytesOf(links: readonly LinkPlan[]): number {
  return links.reduce((sum, { sends, receives, elems }) => sum + (sends + receives) * paddedBytes(elems * 4), 0)
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
  const slots = sendBuffers(schedule)
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

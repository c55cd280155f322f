import { dependenciesOf } from './dependencies.ts'
import { type CollectivePlan, describeOp, isSamePlace, isTransfer, type PlanOp, type TransferOp } from './plan.ts'

/** One message: the k-th send of a lane with the k-th receive of the same lane. */
export interface Transfer {
  readonly src: number
  /** Index of the send in src's list. */
  readonly send: number
  readonly dst: number
  /** Index of the receive in dst's list. */
  readonly recv: number
  readonly elems: number
}

/** All messages from one rank to another, in order. */
export type Lane = readonly Transfer[]

/** The lanes of a plan, or why some message has no partner. */
export function lanesOf(plan: CollectivePlan): { readonly lanes: readonly Lane[] } | { readonly unmatched: string } {
  const lanes: Lane[] = []
  const messages = new Map(plan.ops.map((ops, rank) => [rank, messagesOf(ops)]))
  for (let src = 0; src < plan.ranks; src++) {
    for (let dst = 0; dst < plan.ranks; dst++) {
      const sends = messages.get(src)?.sends.get(dst) ?? []
      const receives = messages.get(dst)?.receives.get(src) ?? []
      if (sends.length !== receives.length) {
        return {
          unmatched: `rank ${src} sends ${sends.length} messages to rank ${dst}, which expects ${receives.length}`,
        }
      }
      const lane: Transfer[] = []
      for (const [k, send] of sends.entries()) {
        const recv = receives[k] as number
        const [out, into] = [opAt(plan, src, send), opAt(plan, dst, recv)]
        const isMoved = plan.spaces === undefined && !isSamePlace(plan, out.from, into.from)
        if (isMoved || out.to - out.from !== into.to - into.from) {
          return {
            unmatched: `message ${k} from rank ${src} to rank ${dst}: op ${send} is "${describeOp(out)}", op ${recv} there is "${describeOp(into)}"`,
          }
        }
        lane.push({ src, send, dst, recv, elems: out.to - out.from })
      }
      if (lane.length > 0) lanes.push(lane)
    }
  }
  return { lanes }
}

/** The op at a place that is known to exist. */
export function opAt(plan: CollectivePlan, rank: number, index: number): PlanOp {
  return plan.ops[rank]?.[index] as PlanOp
}

/** The transfer at a place where one is known to be. */
export function transferAt(plan: CollectivePlan, rank: number, index: number): TransferOp {
  return plan.ops[rank]?.[index] as TransferOp
}

/** Indexes of the sends and receives of one list, by peer, in order. */
function messagesOf(ops: readonly PlanOp[]) {
  const sends = new Map<number, number[]>()
  const receives = new Map<number, number[]>()
  for (const [index, op] of ops.entries()) {
    if (!isTransfer(op)) continue
    const side = op.op === 'send' ? sends : receives
    const list = side.get(op.peer)
    if (list === undefined) side.set(op.peer, [index])
    else list.push(index)
  }
  return { sends, receives }
}

/**
 * How far a plan has come, for checking and simulating it. A message starts when both its ends may start (rendezvous): nothing
 * counts on a socket to buffer it, so what gets to its end here cannot stall on full buffers.
 *
 * With `stages` what is to be added may arrive before its turn: one message a lane, as a socket holds it in truth. For times.
 */
export class PlanProgress {
  readonly plan: CollectivePlan
  readonly lanes: readonly Lane[]
  readonly #heads: number[]
  /** Per rank and op: how many earlier ops it still waits for. */
  readonly #waiting: number[][]
  /** Per rank and op: the ops that wait for it. */
  readonly #unlocks: number[][][]
  /** Per rank and op: the lane of a message, -1 for a local op. */
  readonly #laneOf: Int32Array[]
  /** Local ops that may start. */
  readonly #locals: { readonly rank: number; readonly index: number }[] = []
  /** Lanes of which an end of some message has become ready. */
  readonly #woken: number[] = []
  #open: number

  readonly #stages: boolean
  /** Per rank: the receives that have arrived before their turn, with their lane. */
  readonly #staged: Map<number, number>[]
  /** Lanes that hold one of those. */
  readonly #full = new Set<number>()

  constructor(plan: CollectivePlan, lanes: readonly Lane[], options: { readonly stages?: boolean } = {}) {
    this.#stages = options.stages === true
    this.#staged = plan.ops.map(() => new Map())
    this.plan = plan
    this.lanes = lanes
    this.#heads = lanes.map(() => 0)
    const dependencies = plan.ops.map(dependenciesOf)
    this.#waiting = dependencies.map(list => list.map(before => before.length))
    this.#unlocks = dependencies.map(list => {
      const unlocks: number[][] = list.map(() => [])
      for (const [index, before] of list.entries()) for (const earlier of before) unlocks[earlier]?.push(index)
      return unlocks
    })
    this.#open = plan.ops.reduce((sum, list) => sum + list.length, 0)
    this.#laneOf = plan.ops.map(list => new Int32Array(list.length).fill(-1))
    for (const [lane, transfers] of lanes.entries()) {
      for (const { src, send, dst, recv } of transfers) {
        ;(this.#laneOf[src] as Int32Array)[send] = lane
        ;(this.#laneOf[dst] as Int32Array)[recv] = lane
      }
    }
    for (const [rank, list] of plan.ops.entries()) for (const index of list.keys()) this.#noteReady(rank, index)
  }

  get isComplete(): boolean {
    return this.#open === 0
  }

  /** The next message of a lane, if there is one left. */
  head(lane: number): Transfer | undefined {
    return this.lanes[lane]?.[this.#heads[lane] ?? 0]
  }

  /** The next message of a lane, if both its ends may start. */
  startable(lane: number): Transfer | undefined {
    const transfer = this.head(lane)
    if (transfer === undefined) return undefined
    if (!this.isReady(transfer.src, transfer.send)) return undefined
    if (this.isReady(transfer.dst, transfer.recv)) return transfer
    const mayWait = this.#stages && transferAt(this.plan, transfer.dst, transfer.recv).op === 'recvReduce'
    return mayWait && !this.#full.has(lane) ? transfer : undefined
  }

  /** The message of this lane has arrived: true when its receive may end now, else it does so in its turn, as a local op. */
  arrive(lane: number, transfer: Transfer): boolean {
    if (this.isReady(transfer.dst, transfer.recv)) return true
    this.#staged[transfer.dst]?.set(transfer.recv, lane)
    this.#full.add(lane)
    return false
  }

  isReady(rank: number, index: number): boolean {
    return this.#waiting[rank]?.[index] === 0
  }

  /** Takes the head off its lane. */
  start(lane: number): void {
    this.#heads[lane] = (this.#heads[lane] ?? 0) + 1
  }

  /** Takes a lane whose head may have become startable; every other lane is where it was when it was last taken. */
  takeWoken(): number | undefined {
    return this.#woken.pop()
  }

  /** Takes a local op that may start; the caller finishes it. */
  takeLocal(): { readonly rank: number; readonly index: number } | undefined {
    return this.#locals.pop()
  }

  finish(rank: number, index: number): void {
    this.#open--
    const waiting = this.#waiting[rank] as number[]
    for (const later of this.#unlocks[rank]?.[index] ?? []) {
      waiting[later] = (waiting[later] as number) - 1
      this.#noteReady(rank, later)
    }
  }

  #noteReady(rank: number, index: number): void {
    if (!this.isReady(rank, index)) return
    const full = this.#staged[rank]?.get(index)
    const lane = this.#laneOf[rank]?.[index] as number
    if (full !== undefined) {
      this.#staged[rank]?.delete(index)
      this.#full.delete(full)
    }
    if (lane < 0 || full !== undefined) this.#locals.push({ rank, index })
    else this.#woken.push(lane)
  }
}

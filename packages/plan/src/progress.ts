import { dependenciesOf } from './dependencies.ts'
import { type CollectivePlan, describeOp, type PlanOp } from './plan.ts'

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
  for (let src = 0; src < plan.ranks; src++) {
    for (let dst = 0; dst < plan.ranks; dst++) {
      const sends = indexes(plan, src, op => op.op === 'send' && op.peer === dst)
      const receives = indexes(plan, dst, op => op.op !== 'send' && op.peer === src)
      if (sends.length !== receives.length) {
        return {
          unmatched: `rank ${src} sends ${sends.length} messages to rank ${dst}, which expects ${receives.length}`,
        }
      }
      const lane: Transfer[] = []
      for (const [k, send] of sends.entries()) {
        const recv = receives[k] as number
        const [out, into] = [opAt(plan, src, send), opAt(plan, dst, recv)]
        // In every collective here an element keeps its place.
        if (out.from !== into.from || out.to !== into.to) {
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

function indexes(plan: CollectivePlan, rank: number, wanted: (op: PlanOp) => boolean): number[] {
  const found: number[] = []
  for (const [index, op] of (plan.ops[rank] ?? []).entries()) if (wanted(op)) found.push(index)
  return found
}

/**
 * How far a plan has come, for checking and simulating it. A message starts when both its ends may start (rendezvous): nothing
 * counts on a socket to buffer it, so what gets to its end here cannot stall on full buffers.
 */
export class PlanProgress {
  readonly plan: CollectivePlan
  readonly lanes: readonly Lane[]
  readonly #heads: number[]
  /** Per rank and op: how many earlier ops it still waits for. */
  readonly #waiting: number[][]
  /** Per rank and op: the ops that wait for it. */
  readonly #unlocks: number[][][]
  #open: number

  constructor(plan: CollectivePlan, lanes: readonly Lane[]) {
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
    const ready = this.isReady(transfer.src, transfer.send) && this.isReady(transfer.dst, transfer.recv)
    return ready ? transfer : undefined
  }

  isReady(rank: number, index: number): boolean {
    return this.#waiting[rank]?.[index] === 0
  }

  /** Takes the head off its lane. */
  start(lane: number): void {
    this.#heads[lane] = (this.#heads[lane] ?? 0) + 1
  }

  finish(rank: number, index: number): void {
    this.#open--
    const waiting = this.#waiting[rank] as number[]
    for (const later of this.#unlocks[rank]?.[index] ?? []) waiting[later] = (waiting[later] as number) - 1
  }
}

import { type CollectivePlan, isTransfer, type PlanOp } from './plan.ts'
import { lanesOf, opAt, PlanProgress, type Transfer, transferAt } from './progress.ts'
import { assertValidPlan } from './validate.ts'

/** What links cost. A message of b bytes holds its sender's port for `msPerMessage + b · msPerByte` and arrives `latencyMs` later. */
export interface LinkCosts {
  /** α: time on the way. */
  readonly latencyMs: number
  /** β: 1 / bandwidth; 1e-6 is 1 GB/s. */
  readonly msPerByte: number
  /** Time that every message costs its sender whatever its size; default 0. */
  readonly msPerMessage?: number
  /** Time to add a byte, as it arrives or locally; default 0. */
  readonly reduceMsPerByte?: number
  /** Time to copy or encode a byte; default 0. */
  readonly copyMsPerByte?: number
  /** Links that differ: latency and bandwidth from one rank to another, instead of the two above. */
  pair?(src: number, dst: number): { readonly latencyMs: number; readonly msPerByte: number }
  /** Default 4. */
  readonly bytesPerElem?: number
}

export interface SimulationOptions {
  /** When each rank begins; default 0. One that begins at Infinity never does, and what waits for it is not in the result. */
  readonly enteredMs?: readonly number[]
}

/** One op of one rank as it ran. */
export interface SimulatedOp {
  readonly rank: number
  readonly index: number
  readonly op: PlanOp
  readonly startMs: number
  readonly endMs: number
}

export interface Simulation {
  /** When the last op ends: the last rank is done then, if all have begun. */
  readonly totalMs: number
  readonly ops: readonly SimulatedOp[]
  /** Payload bytes that each rank sends. */
  readonly bytesSent: readonly number[]
}

/**
 * Runs a plan in an α-β model: every rank sends one message at a time and receives one at a time, both at once (full duplex);
 * links are alike unless `pair` says otherwise. Each sender takes the first of its list that may start. What is sent to a rank that
 * has not begun leaves its sender and arrives when that rank has. @throws SKEIN_PLAN_INVALID
 */
export function simulatePlan(plan: CollectivePlan, costs: LinkCosts, options: SimulationOptions = {}): Simulation {
  assertValidPlan(plan)
  const matched = lanesOf(plan)
  const lanes = 'lanes' in matched ? matched.lanes : []
  const { msPerMessage = 0, reduceMsPerByte = 0, copyMsPerByte = 0, bytesPerElem = 4 } = costs
  const linkOf = (src: number, dst: number) => costs.pair?.(src, dst) ?? costs
  const progress = new PlanProgress(plan, lanes, { stages: true })
  const lanesFrom = plan.ops.map((_, rank) => [...lanes.keys()].filter(lane => lanes[lane]?.[0]?.src === rank))
  const enteredMs = plan.ops.map((_, rank) => options.enteredMs?.[rank] ?? 0)
  const outFreeMs = [...enteredMs]
  const inFreeMs = [...enteredMs]
  const bytesSent = plan.ops.map(() => 0)
  const ops: SimulatedOp[] = []
  const agenda = new Agenda()
  for (const beginMs of new Set(enteredMs)) agenda.add(beginMs, 'a rank begins')
  let nowMs = 0

  const start = (t: Transfer, lane: number) => {
    const bytes = t.elems * bytesPerElem
    const { latencyMs, msPerByte } = linkOf(t.src, t.dst)
    const busyMs = msPerMessage + bytes * msPerByte
    const sentMs = nowMs + busyMs
    const arrivedMs = Math.max(sentMs + latencyMs, (inFreeMs[t.dst] as number) + busyMs)
    const into = transferAt(plan, t.dst, t.recv)
    const doneMs = arrivedMs + (into.op === 'recvReduce' ? bytes * reduceMsPerByte : 0)
    outFreeMs[t.src] = sentMs
    inFreeMs[t.dst] = arrivedMs
    bytesSent[t.src] = (bytesSent[t.src] as number) + bytes
    ops.push({ rank: t.src, index: t.send, op: opAt(plan, t.src, t.send), startMs: nowMs, endMs: sentMs })
    if (doneMs < Infinity) {
      ops.push({ rank: t.dst, index: t.recv, op: into, startMs: arrivedMs - busyMs, endMs: doneMs })
    }
    agenda.add(sentMs, { rank: t.src, index: t.send })
    agenda.add(doneMs, { rank: t.dst, index: t.recv, arrival: { lane, transfer: t } })
  }

  for (;;) {
    for (let local = progress.takeLocal(); local !== undefined; local = progress.takeLocal()) {
      const { rank, index } = local
      const op = opAt(plan, rank, index)
      // What was staged has been received already, and only waited for its turn.
      const isLocal = !isTransfer(op)
      const msPerByte = op.op === 'reduce' ? reduceMsPerByte : copyMsPerByte
      const startMs = Math.max(nowMs, enteredMs[rank] as number)
      const endMs = isLocal ? startMs + (op.to - op.from) * bytesPerElem * msPerByte : nowMs
      if (isLocal && startMs < Infinity) ops.push({ rank, index, op, startMs, endMs })
      agenda.add(endMs, { rank, index })
    }
    for (const [rank, own] of lanesFrom.entries()) {
      while ((outFreeMs[rank] as number) <= nowMs) {
        let lane: number | undefined
        let first: Transfer | undefined
        for (const candidate of own) {
          const t = progress.startable(candidate)
          if (t === undefined || (first !== undefined && first.send < t.send)) continue
          lane = candidate
          first = t
        }
        if (lane === undefined || first === undefined) break
        progress.start(lane)
        start(first, lane)
      }
    }
    const due = agenda.take()
    if (due === undefined) break
    nowMs = due.atMs
    for (const end of due.ends) {
      if (end === 'a rank begins') continue
      const { rank, index, arrival } = end
      if (arrival === undefined || progress.arrive(arrival.lane, arrival.transfer)) progress.finish(rank, index)
    }
  }
  return { totalMs: nowMs, ops, bytesSent }
}

/** Rounds of a plan: its time when a message costs one unit and nothing else costs anything. */
export function countRounds(plan: CollectivePlan): number {
  return simulatePlan(plan, { latencyMs: 0, msPerByte: 0, msPerMessage: 1 }).totalMs
}

/** An op that ends; of a receive also where it came from. */
interface OpEnd {
  readonly rank: number
  readonly index: number
  readonly arrival?: { readonly lane: number; readonly transfer: Transfer }
}

type End = OpEnd | 'a rank begins'

/** What ends when; a binary heap by time. What is at Infinity never comes. */
class Agenda {
  readonly #heap: { readonly atMs: number; readonly end: End }[] = []

  add(atMs: number, end: End): void {
    if (atMs === Infinity) return
    const heap = this.#heap
    let i = heap.length
    heap.push({ atMs, end })
    for (let up = (i - 1) >> 1; i > 0 && this.#at(up) > this.#at(i); i = up, up = (i - 1) >> 1) this.#swap(i, up)
  }

  /** Everything that ends at the earliest time. */
  take(): { readonly atMs: number; readonly ends: readonly End[] } | undefined {
    const first = this.#heap[0]
    if (first === undefined) return undefined
    const ends: End[] = []
    while (this.#heap[0]?.atMs === first.atMs) ends.push(this.#pop())
    return { atMs: first.atMs, ends }
  }

  #pop() {
    const heap = this.#heap
    this.#swap(0, heap.length - 1)
    const { end } = heap.pop() as { atMs: number; end: End }
    for (let i = 0; ; ) {
      let least = i
      for (const child of [2 * i + 1, 2 * i + 2])
        if (child < heap.length && this.#at(child) < this.#at(least)) least = child
      if (least === i) return end
      this.#swap(i, least)
      i = least
    }
  }

  #at(i: number): number {
    return this.#heap[i]?.atMs ?? Number.POSITIVE_INFINITY
  }

  #swap(i: number, j: number): void {
    const [a, b] = [this.#heap[i], this.#heap[j]]
    if (a === undefined || b === undefined) return
    this.#heap[i] = b
    this.#heap[j] = a
  }
}

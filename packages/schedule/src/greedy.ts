import { SkeinError } from '@skein/core'
import { type Costs, durationOf, linkOf } from './costs.ts'
import { ScheduleErrors } from './errors.ts'
import { type ComputeOp, rankOf, type Schedule, stageAlong } from './schedule.ts'

/** A rule by which each rank, whenever it is free, takes one of the ops whose inputs are there. */
export interface GreedyRule {
  /** Whether backwards are split in B and W. */
  readonly split: boolean
  /** What goes first of two ops on a rank: negative for `a`. */
  before(a: ComputeOp, b: ComputeOp): number
  /** Whether a rank may start a forward, given how many chunks it holds. */
  mayStart(op: ComputeOp, held: number): boolean
}

/**
 * Lists made by letting the ranks run: at every moment a free rank starts the first, by the rule, of the ops that can start.
 * Nothing is looked ahead. @throws SKEIN_SCHEDULE_INVALID where all wait for a rank to hold less
 */
export function runGreedily(layout: Omit<Schedule, 'ops'>, costs: Costs, rule: GreedyRule): ComputeOp[][] {
  const schedule: Schedule = { ...layout, ops: [] }
  const { ranks, microbatches } = layout
  const lists: ComputeOp[][] = Array.from({ length: ranks }, () => [])
  const pools: { readonly op: ComputeOp; readonly at: number }[][] = lists.map(() => [])
  const held = lists.map(() => 0)
  const running: ({ readonly op: ComputeOp; readonly end: number } | undefined)[] = lists.map(() => undefined)
  let now = 0

  const offer = (op: ComputeOp, from: number) => {
    const rank = rankOf(schedule, op.stage, op.microbatch)
    const { hop = 0, linkBusy = 0 } = linkOf(costs, from, rank)
    pools[rank]?.push({ op, at: now + (rank === from ? 0 : hop + linkBusy) })
  }
  const finish = (rank: number, op: ComputeOp) => {
    const { stage, microbatch } = op
    const gradient = rule.split ? 'B' : 'BW'
    if (op.op === 'F') {
      const next = stageAlong(schedule, stage, microbatch, +1)
      offer(next === undefined ? { op: gradient, stage, microbatch } : { op: 'F', stage: next, microbatch }, rank)
      return
    }
    if (op.op !== 'B') held[rank] = (held[rank] as number) - 1
    if (op.op === 'W') return
    const next = stageAlong(schedule, stage, microbatch, -1)
    if (next !== undefined) offer({ op: gradient, stage: next, microbatch }, rank)
    if (op.op === 'B') offer({ op: 'W', stage, microbatch }, rank)
  }
  const start = (rank: number) => {
    const pool = pools[rank] ?? []
    let best: (typeof pool)[number] | undefined
    for (const one of pool) {
      if (one.at > now + 1e-9 || (one.op.op === 'F' && !rule.mayStart(one.op, held[rank] as number))) continue
      if (best === undefined || rule.before(one.op, best.op) < 0) best = one
    }
    if (best === undefined) return
    pool.splice(pool.indexOf(best), 1)
    const { op } = best
    if (op.op === 'F') held[rank] = (held[rank] as number) + 1
    lists[rank]?.push(op)
    running[rank] = { op, end: now + durationOf(schedule, op, costs) }
  }

  for (let microbatch = 0; microbatch < microbatches; microbatch++) {
    const first = layout.paths?.[microbatch]?.[0] ?? 0
    offer({ op: 'F', stage: first, microbatch }, rankOf(schedule, first, microbatch))
  }
  for (;;) {
    for (const [rank, one] of running.entries()) {
      if (one === undefined || one.end > now + 1e-9) continue
      running[rank] = undefined
      finish(rank, one.op)
    }
    for (const [rank, one] of running.entries()) if (one === undefined) start(rank)
    let next = Math.min(...running.map(one => one?.end ?? Number.POSITIVE_INFINITY))
    for (const { at } of pools.flat()) if (at > now + 1e-9) next = Math.min(next, at)
    if (next === Number.POSITIVE_INFINITY) break
    now = next
  }
  const left = pools.flat().length
  if (left === 0) return lists
  throw new SkeinError(ScheduleErrors.INVALID, {
    what: `the schedule ${layout.name} comes to a stand with ${left} ops left`,
    why: 'every rank holds as much as it may, and none can free any of it',
    todo: 'allow more activations',
    details: { name: layout.name, left, held },
  })
}

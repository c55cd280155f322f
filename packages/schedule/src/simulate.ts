import { SkeinError } from '@skein/core'
import { holdingsOf, type Kept, rounded } from './activations.ts'
import { type Costs, copyTimeOf, durationOf, linkOf } from './costs.ts'
import { ScheduleErrors } from './errors.ts'
import { type GraphNode, graphOf, inOrder } from './graph.ts'
import { isCopy, type Schedule, type ScheduleOp } from './schedule.ts'
import { checkSchedule } from './validate.ts'

/** One op as it ran: on the device, or, where the costs say no other, a copy beside it. */
export interface TimedOp {
  readonly op: ScheduleOp
  readonly start: number
  readonly end: number
}

export interface Simulation {
  readonly makespan: number
  /** Per rank in the order of its list; messages are not in it. */
  readonly ops: readonly (readonly TimedOp[])[]
  /** Per rank, time that its device computes. */
  readonly busy: readonly number[]
  /** Idle part of all devices over the makespan: of a step that ends when the last rank has ended. */
  readonly syncBubble: number
  /** The same over the longest span from first start to last end of one rank. */
  readonly spanBubble: number
  /** Per rank the most activations held at once, in units of one microbatch on the stages of one rank. */
  readonly peakActivations: readonly number[]
  /** Per rank the most results of other ranks that have come and wait for their op: these are memory too. */
  readonly peakQueued: readonly number[]
}

export interface SimulateOptions {
  /** By how much more than its cost an op takes, for what is not the same every time; default 1. */
  readonly stretch?: (op: ScheduleOp) => number
}

/**
 * Runs every list in order: an op starts when the device is free and its inputs are there, results of other ranks a hop after
 * they were made, one after another on a link. Copies go one after another too, those to the host and those from it apart.
 * @throws SKEIN_SCHEDULE_INVALID where the lists do not run to their end
 */
export function simulate(schedule: Schedule, costs: Costs, { stretch = () => 1 }: SimulateOptions = {}): Simulation {
  const graph = graphOf(schedule)
  const free = schedule.ops.map(() => 0)
  const copies = { offload: schedule.ops.map(() => 0), reload: schedule.ops.map(() => 0) }
  const ends = new Float64Array(graph.nodes.length)
  const consumers = consumersOf(graph.nodes)
  const links = new Map<number, number>()
  /** When the result of a node is on another rank. */
  const arrivals = new Map<string, number>()
  const timed: TimedOp[][] = schedule.ops.map(() => [])
  const waits: { at: number; rank: number; by: number }[] = []
  let ran = 0

  for (const node of inOrder(graph)) {
    const { id, rank, op } = node
    let ready = free[rank] as number
    for (const input of node.inputs) {
      ready = Math.max(ready, arrivals.get(`${input} ${rank}`) ?? (ends[input] as number))
    }
    let end: number
    if (isCopy(op)) {
      const channel = costs.copyHoldsDevice === true ? free : copies[op.op]
      ready = Math.max(ready, channel[rank] as number)
      end = ready + copyTimeOf(schedule, op, costs) * stretch(op)
      channel[rank] = end
    } else {
      end = ready + durationOf(schedule, op, costs) * stretch(op)
      free[rank] = end
    }
    ends[id] = end
    timed[rank]?.push({ op, start: ready, end })
    for (const input of node.inputs) {
      const at = arrivals.get(`${input} ${rank}`)
      if (at !== undefined) waits.push({ at, rank, by: ready })
    }
    for (const peer of consumers[id] ?? []) {
      if (peer === rank) continue
      const link = rank * schedule.ranks + peer
      const { hop = 0, linkBusy = 0 } = linkOf(costs, rank, peer)
      const sent = Math.max(links.get(link) ?? 0, end) + linkBusy
      links.set(link, sent)
      arrivals.set(`${id} ${peer}`, sent + hop)
    }
    ran++
  }
  if (ran < graph.nodes.length || graph.missing.length > 0) throw notRunnable(schedule)
  return measured(schedule, timed, waits)
}

function measured(
  schedule: Schedule,
  timed: readonly (readonly TimedOp[])[],
  waits: readonly { readonly at: number; readonly rank: number; readonly by: number }[],
): Simulation {
  const onDevice = timed.map(list => list.filter(({ op }) => !isCopy(op)))
  const busy = onDevice.map(list => list.reduce((sum, { start, end }) => sum + end - start, 0))
  // Ops of a device end in the order of its list.
  const makespan = Math.max(...onDevice.map(list => list.at(-1)?.end ?? 0))
  const span = Math.max(...onDevice.map(list => (list.at(-1)?.end ?? 0) - (list[0]?.start ?? 0)))
  const mean = busy.reduce((sum, time) => sum + time, 0) / schedule.ranks
  return {
    makespan,
    ops: timed,
    busy,
    syncBubble: 1 - mean / makespan,
    spanBubble: 1 - mean / span,
    peakActivations: peakHeld(schedule, timed),
    peakQueued: timed.map((_, rank) =>
      peakOf(
        waits
          .filter(wait => wait.rank === rank && wait.by > wait.at)
          .flatMap(({ at, by }) => [
            { at, by: 1 },
            { at: by, by: -1 },
          ]),
      ),
    ),
  }
}

/** Per rank the most that is held at once of what each stage keeps of a microbatch, as the ops ran; default: activations. */
export function peakHeld(schedule: Schedule, ops: Simulation['ops'], kept?: Kept): readonly number[] {
  const holding = holdingsOf(schedule, kept)
  return ops.map(list =>
    peakOf(
      list.flatMap(({ op, start, end }) => {
        const { takes, frees } = holding(op)
        return [
          { at: start, by: takes },
          { at: end, by: -frees },
        ]
      }),
    ),
  )
}

/** The highest sum on the way; what is freed at an instant is free for what starts then. */
function peakOf(changes: readonly { readonly at: number; readonly by: number }[]): number {
  const sorted = changes
    .filter(({ by }) => by !== 0)
    .map(({ at, by }) => ({ at: rounded(at), by }))
    .sort((a, b) => a.at - b.at || a.by - b.by)
  let held = 0
  let peak = 0
  for (const { by } of sorted) {
    held += by
    peak = Math.max(peak, held)
  }
  return rounded(peak)
}

/** Per node the ranks that take its result. */
function consumersOf(nodes: readonly GraphNode[]): readonly ReadonlySet<number>[] {
  const consumers = nodes.map(() => new Set<number>())
  for (const node of nodes) for (const input of node.inputs) consumers[input]?.add(node.rank)
  return consumers
}

function notRunnable(schedule: Schedule): SkeinError {
  const found = checkSchedule(schedule)
  return new SkeinError(ScheduleErrors.INVALID, {
    what: `the schedule ${schedule.name} does not run to its end: ${found?.message ?? 'its ops wait in a circle'}`,
    todo: 'correct its rule',
    details: { name: schedule.name, ...found },
  })
}

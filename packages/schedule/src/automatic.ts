import { peakActivations } from './activations.ts'
import { alternate, eachMicrobatch, messagesOver, scheduleOf, upTo } from './build.ts'
import { type Costs, durationOf, linkOf } from './costs.ts'
import type { Family, Sizes } from './family.ts'
import { runGreedily } from './greedy.ts'
import { oneFOneB } from './one-f-one-b.ts'
import { linear } from './placement.ts'
import type { ComputeOp, Schedule } from './schedule.ts'
import { simulate } from './simulate.ts'
import { zbH1, zbH2 } from './zb-h.ts'

interface Policy {
  /** How many forwards come before the first backward, as a multiple of the ranks below. */
  readonly slope: number
  /** Whether the pipe is emptied after as many microbatches as a rank may hold: for little memory. */
  readonly blocks: boolean
  /** How much of a weight gradient may overhang a gap. */
  readonly overhang: number
}

function policiesFor({ ranks }: Sizes, cap: number): readonly Policy[] {
  const slopes = cap < ranks ? [0, 0.5, 1] : [1, 1.25, 1.5, 1.75, 2, 2.5, 3]
  const all = [0, 0.5, 1].flatMap(overhang => slopes.map(slope => ({ slope, overhang, blocks: false })))
  return cap < ranks ? [...all, ...all.map(policy => ({ ...policy, blocks: true }))] : all
}

/**
 * A schedule searched for the costs measured and the memory there is. Forwards and backwards are in the order of 1F1B with more or
 * fewer forwards first; a weight gradient goes into a gap that it fits, or nearly; one is forced where a forward would hold too
 * much; the rest is at the end. Among the tries are two greedy ones and the rules made by hand that fit; the quickest is taken.
 */
export const automatic: Family = {
  name: 'auto',
  title: 'Automatic',
  paper:
    'in the spirit of Qi et al. 2023, Zero Bubble Pipeline Parallelism, section 3 (the heuristic; their integer program is not here)',
  chunks: 1,
  takesCap: true,
  paperSays: { bubble: 'as the memory allows', peak: 'the cap given; here p' },
  refuses: ({ cap = 1 }) => (cap < 1 ? 'pass a cap of at least 1 activation' : undefined),
  generate(sizes) {
    const { costs, ranks, cap = ranks } = sizes
    const handmade = [oneFOneB, zbH1, zbH2]
      .filter(family => family.refuses?.(sizes) === undefined)
      .map((family): Schedule => ({ ...family.generate(sizes), name: 'auto', promise: upTo(ranks).map(() => cap) }))
      .filter(schedule => Math.max(...peakActivations(schedule)) <= cap)
    const timed = [...handmade, ...greedySchedules(sizes, cap)].map(schedule => ({
      schedule,
      time: simulate(schedule, costs).makespan,
    }))
    const found = policiesFor(sizes, cap).flatMap(policy => scheduleBy(policy, sizes, cap) ?? [])
    // There is always one: a greedy list of a pipe without branches never comes to a stand.
    return [...timed, ...found].reduce((least, one) => (one.time < least.time - 1e-9 ? one : least)).schedule
  },
  forms: {
    messages: ({ ranks, microbatches }) => messagesOver(ranks - 1, microbatches),
  },
}

/** With little memory no fixed order will do: each rank takes what it can, and weight gradients before or after forwards. */
function greedySchedules(sizes: Sizes, cap: number): readonly Schedule[] {
  const parts = { pipes: [linear(sizes.ranks)], promise: upTo(sizes.ranks).map(() => cap) }
  const layout = scheduleOf('auto', sizes, { ...parts, lists: [] })
  return ['BFW', 'BWF'].map(order => {
    const lists = runGreedily(layout, sizes.costs, {
      split: true,
      before: (a, b) => order.indexOf(a.op) - order.indexOf(b.op) || a.microbatch - b.microbatch,
      mayStart: (_, held) => held + 1 <= cap,
    })
    return scheduleOf('auto', sizes, { ...parts, lists })
  })
}

/** One rank on its way through its forwards and backwards. */
interface Walker {
  readonly order: readonly ComputeOp[]
  readonly list: ComputeOp[]
  readonly waiting: ComputeOp[]
  next: number
  free: number
  held: number
}

/** The lists of one policy: always the rank moves on whose next op can start first. Undefined where memory does not allow its order. */
function scheduleBy(
  { slope, overhang, blocks }: Policy,
  sizes: Sizes,
  cap: number,
): { readonly schedule: Schedule; readonly time: number } | undefined {
  const { ranks, microbatches, costs } = sizes
  const parts = { pipes: [linear(ranks)], promise: upTo(ranks).map(() => cap) }
  const empty = scheduleOf('auto', sizes, { ...parts, lists: [] })
  const timeOf = (op: ComputeOp) => durationOf(empty, op, costs)
  const walkers = upTo(ranks).map((rank): Walker => {
    const warmUp = Math.min(Math.floor(cap) - 1, Math.round(slope * (ranks - 1 - rank)))
    return {
      order: orderOf(rank, microbatches, warmUp, blocks ? Math.floor(cap) : microbatches),
      list: [],
      waiting: [],
      next: 0,
      free: 0,
      held: 0,
    }
  })
  const ends = new Map<string, number>()
  const key = (op: 'F' | 'B', rank: number, microbatch: number) => `${op} ${rank} ${microbatch}`

  const put = (walker: Walker, op: ComputeOp, start: number) => {
    walker.list.push(op)
    walker.free = start + timeOf(op)
    if (op.op === 'W') walker.held--
  }
  const putWaiting = (walker: Walker) => put(walker, walker.waiting.shift() as ComputeOp, walker.free)

  for (;;) {
    const ready = walkers.flatMap((walker, rank) => {
      const op = walker.order[walker.next]
      const at =
        op === undefined
          ? undefined
          : inputOf(op, rank, ranks, (kind, from) => ends.get(key(kind, from, op.microbatch)), costs)
      return op === undefined || at === undefined ? [] : [{ walker, rank, op, start: Math.max(walker.free, at) }]
    })
    const first = ready.reduce<(typeof ready)[number] | undefined>(
      (least, one) => (least === undefined || one.start < least.start ? one : least),
      undefined,
    )
    if (first === undefined) break
    const { walker, rank, op, start } = first
    while (walker.waiting[0] !== undefined) {
      const gap = start - walker.free
      const time = timeOf(walker.waiting[0])
      if (gap < time * (1 - overhang) || gap <= 0) break
      putWaiting(walker)
      if (gap < time) break
    }
    if (op.op === 'F') {
      while (walker.held + 1 > cap) {
        if (walker.waiting.length === 0) return undefined
        putWaiting(walker)
      }
      walker.held++
    } else walker.waiting.push({ ...op, op: 'W' })
    put(walker, op, Math.max(start, walker.free))
    ends.set(key(op.op as 'F' | 'B', rank, op.microbatch), walker.free)
    walker.next++
  }
  if (walkers.some(({ next, order }) => next < order.length)) return undefined
  for (const walker of walkers) while (walker.waiting.length > 0) putWaiting(walker)
  return {
    schedule: scheduleOf('auto', sizes, { ...parts, lists: walkers.map(({ list }) => list) }),
    time: Math.max(...walkers.map(({ free }) => free)),
  }
}

/** When the input of a pass is there; undefined while nobody has made it. */
function inputOf(
  op: ComputeOp,
  rank: number,
  ranks: number,
  endOf: (kind: 'F' | 'B', rank: number) => number | undefined,
  costs: Costs,
): number | undefined {
  const isFirst = op.op === 'F' ? rank === 0 : rank === ranks - 1
  if (isFirst) return op.op === 'F' ? 0 : endOf('F', rank)
  const from = op.op === 'F' ? rank - 1 : rank + 1
  const end = endOf(op.op === 'F' ? 'F' : 'B', from)
  const { hop = 0, linkBusy = 0 } = linkOf(costs, from, rank)
  return end === undefined ? undefined : end + hop + linkBusy
}

/** Forwards and backwards of a rank, block by block. */
function orderOf(stage: number, microbatches: number, warmUp: number, block: number): readonly ComputeOp[] {
  return upTo(Math.ceil(microbatches / block)).flatMap(k => {
    const of = (op: 'F' | 'B') => eachMicrobatch(op, stage, microbatches).slice(k * block, (k + 1) * block)
    return alternate(of('F'), of('B'), warmUp)
  })
}

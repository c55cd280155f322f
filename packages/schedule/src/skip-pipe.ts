import { scheduleOf, upTo } from './build.ts'
import { type Costs, durationOf } from './costs.ts'
import type { Family, Sizes } from './family.ts'
import { runGreedily } from './greedy.ts'
import { linear } from './placement.ts'
import type { Schedule } from './schedule.ts'

/**
 * Each microbatch runs through part of the stages, in an order of its own: the first and the last always, two thirds in all; which
 * are left out goes round, so that stages are visited alike. The order is searched, microbatch after microbatch, so that it meets
 * those before it least on the way: neighbours may change places. Backwards it goes the same way back.
 *
 * What is learned is not what the full pipe would learn.
 */
export const skipPipe: Family = {
  name: 'skippipe',
  title: 'SkipPipe',
  paper:
    'Blagoev et al. 2025, SkipPipe: Partial and Reordered Pipelining Framework for Training LLMs in Heterogeneous Networks',
  chunks: 1,
  takesCap: true,
  paperSays: {
    bubble: 'none given; up to 55 % shorter steps',
    peak: 'a cap on each node',
    note: 'microbatches are planned one after another around those planned before, where the paper branches on every conflict; stages are not placed on nodes by measured links',
  },
  refuses({ ranks, cap = 1 }) {
    if (ranks < 3) return 'pass at least 3 ranks: with fewer there is nothing to skip'
    return cap < 1 ? 'pass a cap of at least 1 activation' : undefined
  },
  generate(sizes) {
    const { ranks, microbatches, costs, cap = ranks } = sizes
    const parts = {
      pipes: [linear(ranks)],
      paths: pathsFor(sizes),
      promise: upTo(ranks).map(() => Math.min(cap, microbatches)),
    }
    const lists = runGreedily(scheduleOf('skippipe', sizes, { ...parts, lists: [] }), costs, {
      split: false,
      before: (a, b) => Number(a.op === 'F') - Number(b.op === 'F') || a.microbatch - b.microbatch,
      // The first stage sees every microbatch first and last: what it holds is what is under way, so that nobody else needs a cap.
      mayStart: ({ stage }, held) => stage > 0 || held + 1 <= cap,
    })
    return scheduleOf('skippipe', sizes, { ...parts, lists })
  },
  forms: {
    messages: sizes => 2 * (visitsOf(sizes.ranks) - 1) * sizes.microbatches,
  },
}

/** Stages of a path. */
function visitsOf(stages: number): number {
  return Math.max(2, Math.ceil((2 * stages) / 3))
}

function pathsFor(sizes: Sizes): readonly (readonly number[])[] {
  const { ranks, microbatches, costs } = sizes
  const middle = ranks - 2
  const inner = visitsOf(ranks) - 2
  const layout = scheduleOf('skippipe', sizes, { pipes: [linear(ranks)], lists: [] })
  const taken: Busy[] = upTo(ranks).map(() => [])
  return upTo(microbatches).map(microbatch => {
    const visited = upTo(inner).map(i => 1 + ((microbatch * inner + i) % middle))
    const found = quickestPath([0, ...visited, ranks - 1], layout, costs, taken)
    for (const { stage, start, end } of found) taken[stage]?.push([start, end])
    return found.map(({ stage }) => stage)
  })
}

/** When a stage computes forwards planned so far. */
type Busy = (readonly [start: number, end: number])[]

interface Visit {
  readonly stage: number
  readonly start: number
  readonly end: number
}

/**
 * Best first over the visits made so far (A*): what is left takes at least its own forwards and hops. After a stage comes the next
 * of those to visit or the one after that, and what was passed over comes then.
 */
function quickestPath(
  stages: readonly number[],
  layout: Schedule,
  costs: Costs,
  taken: readonly Busy[],
): readonly Visit[] {
  const sorted = stages.toSorted((a, b) => a - b)
  const last = sorted.length - 1
  const timeOf = (stage: number) => durationOf(layout, { op: 'F', stage, microbatch: 0 }, costs)
  const hop = costs.hop ?? 0
  const open: { readonly visits: readonly Visit[]; readonly bound: number }[] = [{ visits: [], bound: 0 }]
  for (;;) {
    const best = open.reduce((least, one) => (one.bound < least.bound ? one : least))
    open.splice(open.indexOf(best), 1)
    const { visits } = best
    if (visits.length === sorted.length) return visits
    const left = sorted.filter(stage => !visits.some(visit => visit.stage === stage))
    const isOverdue = visits.length > 0 && (left[0] as number) < (visits.at(-1)?.stage as number)
    for (const stage of left.slice(0, isOverdue || visits.length === 0 ? 1 : 2)) {
      if (stage === sorted[last] && left.length > 1) continue
      const arrival = visits.length === 0 ? 0 : (visits.at(-1)?.end as number) + hop
      const start = firstFree(taken[stage] ?? [], arrival, timeOf(stage))
      const end = start + timeOf(stage)
      const rest = left.filter(other => other !== stage).reduce((sum, other) => sum + timeOf(other) + hop, 0)
      open.push({ visits: [...visits, { stage, start, end }], bound: end + rest })
    }
  }
}

function firstFree(busy: Busy, from: number, time: number): number {
  let start = from
  for (const [begin, end] of busy.toSorted((a, b) => a[0] - b[0])) {
    if (start + time <= begin + 1e-9) break
    start = Math.max(start, end)
  }
  return start
}

import { SkeinError } from '@skein/core'
import { type Costs, durationOf } from './costs.ts'
import { ScheduleErrors } from './errors.ts'
import { numPieces } from './frozen.ts'
import { type FillOp, isCopy, isFill, isTransfer, type Schedule, type ScheduleOp } from './schedule.ts'
import { simulate, type TimedOp } from './simulate.ts'

/** Time in which a device is idle, before the op at `before` of its list. */
interface Gap {
  readonly before: number
  readonly until: number
  /** Where what is still free begins. */
  from: number
  readonly fills: FillOp[]
}

/**
 * A schedule whose idle time runs the frozen layers of the model (encoders, say) on the samples of the next step: each microbatch in `cuts` pieces, each piece with
 * all of its layers on one rank, in gaps that hold them, by these costs (`costs.frozen`). No other op starts later than it did. A piece goes
 * where it is done first, and what no gap holds goes to the end: so the time of a step stays while the work fits, and grows by the rest over the ranks.
 *
 * What a piece comes to is sent to the first stage's rank, which takes it in the next step; the first step has nothing ready.
 *
 * @throws SKEIN_SCHEDULE_OPTIONS where there are no frozen layers, or the schedule's gaps are not those of a step by itself
 * @see Tian et al. 2024, DiffusionPipe: Training Large Diffusion Models with Efficient Pipelines, section 5
 */
export function withFill(schedule: Schedule, costs: Costs, cuts = 1): Schedule {
  const layers = costs.frozen?.length ?? 0
  refuseUnfillable(schedule, layers, cuts)
  const filled: Schedule = {
    ...schedule,
    name: `${schedule.name} filled`,
    frozen: { layers, cuts, lead: schedule.microbatches },
  }
  const gaps = simulate(schedule, costs).ops.map((timed, rank) => gapsOf(schedule.ops[rank] ?? [], timed, costs))
  for (let piece = 0; piece < numPieces(filled); piece++) {
    const ops = Array.from({ length: layers }, (_, layer): FillOp => ({ op: 'fill', layer, piece }))
    const times = ops.map(op => durationOf(filled, op, costs))
    const first = gaps.map(own => placesIn(own, times)).reduce((a, b) => (b.end < a.end ? b : a))
    for (const [layer, op] of ops.entries()) take(first.gaps[layer] as Gap, op, times[layer] as number)
  }
  return { ...filled, ops: schedule.ops.map((list, rank) => merged(list, gaps[rank] ?? [])) }
}

/** In the order of time; the last one, before the update, has no end. */
function gapsOf(list: readonly ScheduleOp[], timed: readonly TimedOp[], costs: Costs): readonly Gap[] {
  const gaps: Gap[] = []
  let free = 0
  for (const [index, { op, start, end }] of timed.entries()) {
    if (isCopy(op) && costs.copyHoldsDevice !== true) continue
    if (start > free + tiny) gaps.push({ before: index, from: free, until: start, fills: [] })
    free = Math.max(free, end)
  }
  const update = list.findLastIndex(({ op }) => op === 'update')
  return [...gaps, { before: update, from: free, until: Number.POSITIVE_INFINITY, fills: [] }]
}

/** The gap of each layer, one after the other, each in the first that has room for it; and when the last one ends. */
function placesIn(
  gaps: readonly Gap[],
  times: readonly number[],
): { readonly gaps: readonly Gap[]; readonly end: number } {
  const places: Gap[] = []
  let at = 0
  let end = 0
  /** What this piece takes of the gap it is in. */
  let taken = 0
  for (const time of times) {
    while (fillable(gaps[at] as Gap) - taken < time - tiny) {
      at++
      taken = 0
    }
    const gap = gaps[at] as Gap
    taken += time
    end = gap.from + taken
    places.push(gap)
  }
  return { gaps: places, end }
}

const fillable = ({ from, until }: Gap) => until - from

function take(gap: Gap, op: FillOp, time: number): void {
  gap.fills.push(op)
  gap.from += time
}

function merged(list: readonly ScheduleOp[], gaps: readonly Gap[]): readonly ScheduleOp[] {
  const before = new Map(gaps.map(gap => [gap.before, gap.fills]))
  return list.flatMap((op, index) => [...(before.get(index) ?? []), op])
}

/** Noise of adding times up. */
const tiny = 1e-9

function refuseUnfillable(schedule: Schedule, layers: number, cuts: number): void {
  const refuse = (why: string, todo: string) =>
    new SkeinError(ScheduleErrors.OPTIONS, {
      what: `the idle time of the schedule ${schedule.name} was to be filled with ${layers} frozen layers in ${cuts} pieces a microbatch`,
      why,
      todo,
      details: { name: schedule.name, layers, cuts },
    })
  if (layers === 0) throw refuse('there is nothing to fill it with', 'give the times of frozen layers: costs.frozen')
  if (!(Number.isSafeInteger(cuts) && cuts >= 1))
    throw refuse('a microbatch has a whole number of pieces', 'pass 1 or more')
  if (schedule.updates !== 'step') {
    throw refuse(
      'its steps run into one another, so that what is idle in one is not in the next',
      'take a schedule that updates once, at the end of a step',
    )
  }
  const other = schedule.ops.flat().find(op => isFill(op) || isTransfer(op))
  if (other !== undefined)
    throw refuse('it is filled, or lowered, already', 'fill it once, before its messages are written out')
}

import { type Costs, copyTimeOf, durationOf } from './costs.ts'
import type { ComputeOp, CopyOp, Schedule, ScheduleOp } from './schedule.ts'
import { simulate, type TimedOp } from './simulate.ts'

/** What a copy's way to the host and back is planned for where nothing was measured: half a forward pass each way. */
export const usualCopyCosts: Costs = { forward: 1, inputGrad: 1, weightGrad: 1, copy: 0.5 }

export interface OffloadOptions {
  /** Which activations; default all. The first half of the stages lives longest, and frees more than half for half of the copies. */
  readonly which?: (op: ComputeOp) => boolean
  /**
   * Copies only the share of an activation that the next forward has time for, so that the copies never fall behind: early slices
   * of a sequence take as many bytes and less time than late ones. Default: all of each.
   * @see Chen et al. 2025, SPPO (its adaptive offloading)
   */
  readonly adaptive?: boolean
}

/**
 * Any schedule with activations copied to the host after their forward and back before what reads them first: their backward, or the
 * forward run again (then the stage's input is all that goes). Copies in each direction go one after another; those back are put as late as they can be, from the end backwards. What is needed again before both copies are
 * done stays. The promise is what is held with these costs. A host link that neighbours share has to be counted in `costs.copy`.
 * @see Wan et al. 2025, PipeOffload: Improving Scalability of Pipeline Parallelism with Memory Optimization
 */
export function offloadActivations(schedule: Schedule, costs: Costs, options: OffloadOptions = {}): Schedule {
  const { which = () => true, adaptive = false } = options
  const copyTime = (piece: ComputeOp) => copyTimeOf(schedule, piece, costs)
  const { ops: timed } = simulate(schedule, costs)
  const { promise: _promise, ...rest } = schedule
  const ops = timed.map(list => {
    const reads = firstReads(list)
    const away = chosen(list, reads, copyTime, which)
    const shareOf = (piece: ComputeOp) =>
      adaptive && copyTime(piece) > 0
        ? Math.min(1, durationOf(schedule, { ...piece, op: 'F' }, costs) / copyTime(piece))
        : 1
    const reloads = placedLate(list, reads, away, piece => copyTime(piece) * shareOf(piece))
    return list.flatMap(({ op }, index): ScheduleOp[] => {
      const back = (reloads.get(index) ?? []).map(piece => copy('reload', piece, shareOf(piece)))
      const isAway = op.op === 'F' && away.has(pieceKey(op))
      return [...back, op, ...(isAway ? [copy('offload', op, shareOf(op))] : [])]
    })
  })
  const away = { ...rest, ops }
  return { ...away, promise: simulate(away, costs).peakActivations }
}

/** Where what a piece left is read first. */
interface Read {
  readonly index: number
  readonly op: ComputeOp
  readonly start: number
}

/** One a piece, in the order of the list: its forward run again where it is, else its backward. */
function firstReads(list: readonly TimedOp[]): readonly Read[] {
  const reads = new Map<string, Read>()
  for (const [index, { op, start }] of list.entries()) {
    if (op.op !== 'R' && op.op !== 'B' && op.op !== 'BW') continue
    if (!reads.has(pieceKey(op))) reads.set(pieceKey(op), { index, op, start })
  }
  return [...reads.values()]
}

/** The pieces that are away long enough for both copies. */
function chosen(
  list: readonly TimedOp[],
  reads: readonly Read[],
  copyTime: (piece: ComputeOp) => number,
  which: (op: ComputeOp) => boolean,
): ReadonlySet<string> {
  const made = new Map<string, number>()
  for (const { op, end } of list) if (op.op === 'F' && which(op)) made.set(pieceKey(op), end)
  const isLong = ({ op, start }: Read) =>
    start - (made.get(pieceKey(op)) ?? Number.POSITIVE_INFINITY) >= 2 * copyTime(op) - 1e-9
  return new Set(reads.filter(isLong).map(({ op }) => pieceKey(op)))
}

/** By place in the list, what is to begin its way back before the op there. */
function placedLate(
  list: readonly TimedOp[],
  reads: readonly Read[],
  away: ReadonlySet<string>,
  copyTime: (piece: ComputeOp) => number,
): ReadonlyMap<number, readonly ComputeOp[]> {
  const places = new Map<number, ComputeOp[]>()
  let channelFree = Number.POSITIVE_INFINITY
  for (const { index, op, start } of reads.toReversed()) {
    if (!away.has(pieceKey(op))) continue
    const begin = Math.min(start, channelFree) - copyTime(op)
    channelFree = begin
    // The last place that the rank comes to before the copy has to begin.
    const forward = list.findIndex(one => one.op.op === 'F' && pieceKey(one.op) === pieceKey(op))
    const place = list.findLastIndex((_, i) => i <= index && (list[i - 1]?.end ?? 0) <= begin + 1e-9)
    const after = Math.max(forward + 1, place)
    places.set(after, [op, ...(places.get(after) ?? [])])
  }
  return places
}

function copy(op: CopyOp['op'], { stage, microbatch, slice }: ComputeOp, share: number): CopyOp {
  return { op, stage, microbatch, ...(slice === undefined ? {} : { slice }), ...(share === 1 ? {} : { share }) }
}

function pieceKey({ stage, microbatch, slice = 0 }: ComputeOp): string {
  return `${stage} ${microbatch} ${slice}`
}

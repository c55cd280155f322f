import { SkeinError } from '@skein/core'
import { scheduleOf, upTo } from './build.ts'
import { ScheduleErrors } from './errors.ts'
import type { Sizes } from './family.ts'
import { wave } from './placement.ts'
import type { ComputeOp, Schedule } from './schedule.ts'

/** Slots of the four passes of microbatch 0 on a rank: forward and backward of its first chunk (capitals) and of its second. */
export interface BlockSlots {
  readonly F: number
  readonly f: number
  readonly b: number
  readonly B: number
}

/** A pass that has its slot. */
interface Placed {
  readonly op: ComputeOp
  slot: number
}

/** Slots from one microbatch to the next: two chunks with three passes each. */
const period = 6

/**
 * A schedule from a building block: the passes of one microbatch, put down again every period. What a rank holds is the sum of the
 * lifespans of its chunks over the period; on a V a long and a short one meet on each rank, and all ranks hold alike.
 * 1. Microbatch j at its slots + 6j. 2. The oldest weight gradient that waits in each free slot. 3. Passes of warm-up and cool-down
 * move to earlier free slots if the rank holds no more for it, with the weight gradients in place, then without them; these are put
 * in again. 4. Only the order on each rank is kept.
 * @see Qi et al. 2024, Pipeline Parallelism with Controllable Memory
 */
export function fromBuildingBlock(
  name: string,
  sizes: Sizes,
  slotsOf: (rank: number) => BlockSlots,
  promise: number | undefined,
): Schedule {
  const { ranks, microbatches } = sizes
  const lists = upTo(ranks).map(rank => {
    const slots = slotsOf(rank)
    const [first, second] = [rank, 2 * ranks - 1 - rank]
    return upTo(microbatches).flatMap((microbatch): Placed[] => [
      { op: { op: 'F', stage: first, microbatch }, slot: slots.F + period * microbatch },
      { op: { op: 'F', stage: second, microbatch }, slot: slots.f + period * microbatch },
      { op: { op: 'B', stage: second, microbatch }, slot: slots.b + period * microbatch },
      { op: { op: 'B', stage: first, microbatch }, slot: slots.B + period * microbatch },
    ])
  })
  for (const [rank, list] of lists.entries()) refuseCollisions(name, rank, list)
  const filled = lists.map(withWeightGrads)
  tighten(filled, ranks)
  const bare = filled.map(list => list.filter(({ op }) => op.op !== 'W'))
  tighten(bare, ranks)
  const tight = bare.map(withWeightGrads)
  return scheduleOf(name, sizes, {
    pipes: [wave(ranks, 2)],
    lists: tight.map(list => list.map(({ op }) => op)),
    promise: upTo(ranks).map(() => promise ?? microbatches),
  })
}

/** The gap in the middle of a block exists so that no two passes share a slot: check, do not trust. */
function refuseCollisions(name: string, rank: number, list: readonly Placed[]): void {
  const taken = new Map<number, ComputeOp>()
  for (const { op, slot } of list) {
    const there = taken.get(slot)
    if (there !== undefined) {
      throw new SkeinError(ScheduleErrors.INVALID, {
        what: `the building block of ${name} puts two passes into slot ${slot} of rank ${rank}`,
        why: 'its gap does not fit the number of ranks',
        todo: 'correct the gap',
        details: { name, rank, slot, passes: [there, op] },
      })
    }
    taken.set(slot, op)
  }
}

const bySlot = (a: Placed, b: Placed) => a.slot - b.slot

/** The weight gradient that has waited longest goes into each free slot. */
function withWeightGrads(list: readonly Placed[]): Placed[] {
  const out: Placed[] = []
  const waiting: ComputeOp[] = []
  const sorted = list.filter(({ op }) => op.op !== 'W').toSorted(bySlot)
  let slot = sorted[0]?.slot ?? 0
  const fillUntil = (end: number) => {
    for (; slot < end && waiting.length > 0; slot++) out.push({ op: waiting.shift() as ComputeOp, slot })
    slot = end
  }
  for (const placed of sorted) {
    fillUntil(placed.slot)
    out.push({ ...placed })
    slot = placed.slot + 1
    if (placed.op.op === 'B') waiting.push({ ...placed.op, op: 'W' })
  }
  fillUntil(slot + waiting.length)
  return out
}

/** Moves the passes before rank 0's first own backward and after its last own forward to the earliest slots there are for them. */
function tighten(lists: readonly Placed[][], ranks: number): void {
  const own = (kind: ComputeOp['op']) => (lists[0] ?? []).filter(({ op }) => op.op === kind && op.stage === 0)
  const warmUpEnd = Math.min(...own('B').map(({ slot }) => slot))
  const coolDownStart = Math.max(...own('F').map(({ slot }) => slot))
  const key = (op: ComputeOp['op'], stage: number, microbatch: number) => `${op} ${stage} ${microbatch}`
  const where = new Map(lists.flat().map(placed => [key(placed.op.op, placed.op.stage, placed.op.microbatch), placed]))
  const all = lists
    .flatMap((list, rank) => list.map(placed => ({ placed, rank })))
    .toSorted((a, b) => bySlot(a.placed, b.placed))
  const peaks = lists.map(list => peakOf(list))
  const last = 2 * ranks - 1
  for (const { placed, rank } of all) {
    const { op, slot } = placed
    if (slot >= warmUpEnd && slot <= coolDownStart) continue
    const { stage, microbatch } = op
    const inputs =
      op.op === 'F'
        ? [key('F', stage - 1, microbatch)]
        : op.op === 'B'
          ? [key('F', stage, microbatch), key('B', Math.min(stage + 1, last), stage === last ? -1 : microbatch)]
          : [key('B', stage, microbatch)]
    const ready = Math.max(0, ...inputs.map(input => (where.get(input)?.slot ?? -1) + 1))
    const list = lists[rank] as Placed[]
    const taken = new Set(list.map(other => other.slot))
    for (let earlier = ready; earlier < slot; earlier++) {
      if (taken.has(earlier) || overtakes(list, placed, earlier)) continue
      placed.slot = earlier
      if (peakOf(list) <= (peaks[rank] as number)) break
      placed.slot = slot
    }
  }
}

/** Whether a pass at such a slot would stand before one of the same kind and stage of an earlier microbatch. */
function overtakes(list: readonly Placed[], { op }: Placed, slot: number): boolean {
  return list.some(
    other =>
      other.op.op === op.op && other.op.stage === op.stage && other.op.microbatch < op.microbatch && other.slot > slot,
  )
}

/** Most chunks held at once, with the weight gradients where they stand, or where they will be put in. */
function peakOf(list: readonly Placed[]): number {
  const whole = list.some(({ op }) => op.op === 'W') ? list.toSorted(bySlot) : withWeightGrads(list)
  let held = 0
  let peak = 0
  for (const { op } of whole) {
    if (op.op === 'F') peak = Math.max(peak, ++held)
    else if (op.op === 'W') held--
  }
  return peak
}

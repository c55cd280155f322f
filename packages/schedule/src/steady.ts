import type { Costs } from './costs.ts'
import type { Family, Sizes } from './family.ts'
import { numPieces } from './frozen.ts'
import { isFill, type Schedule, type ScheduleOp } from './schedule.ts'
import { simulate, type SimulateOptions } from './simulate.ts'

/** The lists of several steps one after another, with nothing at which all ranks would meet between them. */
export function repeated(schedule: Schedule, steps: number): Schedule {
  const { microbatches } = schedule
  const shifted = (op: ScheduleOp, step: number): ScheduleOp => {
    if ('microbatch' in op) return { ...op, microbatch: op.microbatch + step * microbatches }
    if (isFill(op)) return { ...op, piece: op.piece + step * numPieces(schedule) }
    return 'stage' in op ? op : { ...op, step: (op.step ?? 0) + step }
  }
  const times = <T>(list: readonly T[]) => Array.from({ length: steps }, () => list).flat()
  return {
    ...schedule,
    microbatches: microbatches * steps,
    ...(schedule.pipeOf === undefined ? {} : { pipeOf: times(schedule.pipeOf) }),
    ...(schedule.paths === undefined ? {} : { paths: times(schedule.paths) }),
    ops: schedule.ops.map(list => Array.from({ length: steps }, (_, step) => list.map(op => shifted(op, step))).flat()),
  }
}

/**
 * Time of a step among many, run back to back without a barrier. Work on a rank less than this is the bubble that lasts: what zero
 * bubble schedules make zero. Gradient clipping by the global norm is a barrier, unless updates are validated afterwards.
 */
export function steadyPeriod(schedule: Schedule, costs: Costs, steps = 6, options: SimulateOptions = {}): number {
  const until = (count: number) => simulate(repeated(schedule, count), costs, options).makespan
  return (until(2 * steps) - until(steps)) / steps
}

/**
 * The same of a rule: one that updates after each microbatch has no end of a step, so that its lists go on in place of beginning
 * again.
 */
export function steadyPeriodOf(family: Family, sizes: Sizes, costs: Costs): number {
  const schedule = family.generate(sizes)
  if (schedule.updates !== 'microbatch') return steadyPeriod(schedule, costs)
  const longer = family.generate({ ...sizes, microbatches: 2 * sizes.microbatches })
  return simulate(longer, costs).makespan - simulate(schedule, costs).makespan
}

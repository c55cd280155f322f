import type { Schedule, ScheduleOp } from './schedule.ts'

/**
 * Any schedule with the activations of some stages dropped after the forward and made again, from the stage's kept input, right
 * before they are needed: a rank that waits for a gradient does it meanwhile.
 * @see Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost; Huang et al. 2019, GPipe, section 2.3
 */
export function recompute(schedule: Schedule, stages?: ReadonlySet<number>): Schedule {
  return {
    ...schedule,
    ops: schedule.ops.map(list =>
      list.flatMap((op): ScheduleOp[] => {
        if ((op.op !== 'BW' && op.op !== 'B') || stages?.has(op.stage) === false) return [op]
        return [{ ...op, op: 'R' }, op]
      }),
    ),
  }
}

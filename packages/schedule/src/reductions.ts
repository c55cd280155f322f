import { isCompute, type Schedule, type ScheduleOp } from './schedule.ts'

/**
 * The schedule with the sum over all copies of a stage's weights written out: `reduce` right after the last weight gradient of the stage on its
 * rank, so that it travels while the device does what is left. `stages`: those that other ranks hold too; default all.
 */
export function withReductions(schedule: Schedule, stages?: ReadonlySet<number>): Schedule {
  const ops = schedule.ops.map(list => {
    const last = new Map<number, number>()
    for (const [index, op] of list.entries()) if (op.op === 'W' || op.op === 'BW') last.set(op.stage, index)
    return list.flatMap((op, index): ScheduleOp[] => {
      const ends = isCompute(op) && last.get(op.stage) === index && stages?.has(op.stage) !== false
      return ends ? [op, { op: 'reduce', stage: op.stage }] : [op]
    })
  })
  return { ...schedule, ops }
}

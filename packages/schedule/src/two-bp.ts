import { peakActivations } from './activations.ts'
import { messagesOver } from './build.ts'
import { workOf } from './costs.ts'
import type { Family } from './family.ts'
import { oneFOneB } from './one-f-one-b.ts'
import { requireOneUpdate } from './one-update.ts'
import { isCompute, type Schedule, type ScheduleOp } from './schedule.ts'

/**
 * Any schedule with its backward in two passes and all weight gradients at the end of each list, stage by microbatch.
 * @throws SKEIN_SCHEDULE_OPTIONS where it updates after each microbatch
 */
export function withWeightGradsLast(schedule: Schedule): Schedule {
  requireOneUpdate(schedule, 'its weight gradients last')
  const { promise: _promise, ...rest } = schedule
  const late: Schedule = {
    ...rest,
    name: `2bp of ${schedule.name}`,
    ops: schedule.ops.map(list => {
      const weights: ScheduleOp[] = []
      const early = list.flatMap((op): ScheduleOp[] => {
        if (!isCompute(op) || op.op === 'F' || op.op === 'R') return [op]
        if (op.op !== 'B') weights.push({ ...op, op: 'W' })
        return op.op === 'W' ? [] : [{ ...op, op: 'B' }]
      })
      const end = early.findLastIndex(isCompute) + 1
      return [...early.slice(0, end), ...weights, ...early.slice(end)]
    }),
  }
  return { ...late, promise: peakActivations(late) }
}

/** 1F1B with its weight gradients at the end: no other rank waits for them, and every microbatch is held until then. */
export const twoBP: Family = {
  name: '2bp',
  title: '2BP on 1F1B',
  paper: 'Rae et al. 2024, 2BP: 2-Stage Backpropagation',
  chunks: 1,
  paperSays: { bubble: '(p-1)(tF+tB)', peak: 'm, and the output gradients' },
  generate(sizes) {
    const schedule = withWeightGradsLast(oneFOneB.generate(sizes))
    return { ...schedule, name: '2bp', promise: schedule.ops.map(() => sizes.microbatches) }
  },
  forms: {
    extra: ({ ranks }, costs) => (ranks - 1) * (workOf(costs) - costs.weightGrad),
    steadyExtra: ({ ranks }, costs) => (ranks - 1) * (workOf(costs) - costs.weightGrad),
    peak: ({ microbatches }) => microbatches,
    messages: ({ ranks, microbatches }) => messagesOver(ranks - 1, microbatches),
  },
}

import { requireOneUpdate } from './one-update.ts'
import type { Schedule, ScheduleOp } from './schedule.ts'

/**
 * Any schedule without the barrier that a global norm (or a search for infinities) puts before the update. Each rank updates from
 * what it and the ranks before it know, and passes that on; the last rank so knows all, and the verdict goes back up the ranks
 * during the next step's warm-up. A rank that it proves wrong rolls its update back and does it again, before any backward; and where one was
 * wrong, all do again what they had done of the step. Steps where that happens take a warm-up longer, which the simulator does not know.
 * @throws SKEIN_SCHEDULE_OPTIONS where it updates after each microbatch
 * @see Qi et al. 2023, Zero Bubble Pipeline Parallelism, section 4
 */
export function withPostValidation(schedule: Schedule): Schedule {
  requireOneUpdate(schedule, 'its updates validated afterwards')
  return {
    ...schedule,
    name: `${schedule.name} validated`,
    updates: 'validated',
    ops: schedule.ops.map(list => {
      const warmUp = list.findIndex(({ op }) => op === 'B' || op === 'BW')
      return [...list.slice(0, warmUp), { op: 'validate', step: -1 } satisfies ScheduleOp, ...list.slice(warmUp)]
    }),
  }
}

import { SkeinError } from '@skein/core'
import { ScheduleErrors } from './errors.ts'
import type { Schedule } from './schedule.ts'

/**
 * For a change of what comes at the end of a step, which a schedule that updates after each microbatch has not.
 * @throws SKEIN_SCHEDULE_OPTIONS
 */
export function requireOneUpdate({ name, updates }: Schedule, change: string): void {
  if (updates !== 'microbatch') return
  throw new SkeinError(ScheduleErrors.OPTIONS, {
    what: `the schedule ${name} was to have ${change}`,
    why: 'it updates after every microbatch, from the gradients that are there by then',
    todo: 'take a schedule that updates once, at the end of a step',
    details: { name, updates },
  })
}

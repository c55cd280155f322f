import { nearestName, SkeinError } from '@skein/core'
import { familyOf, ScheduleErrors, scheduleNames, sizesOf } from '@skein/schedule'
import type { JobSchedule } from './job-types.ts'

/** Schedules that no job can have yet, and why. */
const notOffered: ReadonlyMap<string, string> = new Map([
  [
    'pipedream',
    'it updates after every microbatch, so there is no moment at which all parts of a step can be committed',
  ],
  ['skippipe', 'each sample passes through some of the stages only, so that another model is learned'],
])

export const offeredSchedules: readonly string[] = scheduleNames.filter(name => !notOffered.has(name))

/** Why a job cannot have this schedule, as the end of a sentence about its name. */
export function scheduleProblem(name: string): string | undefined {
  if (offeredSchedules.includes(name)) return undefined
  const why = notOffered.get(name)
  const known = `must be one of ${offeredSchedules.map(one => JSON.stringify(one)).join(', ')}`
  if (why !== undefined) return `is not offered in jobs yet: ${why}; it ${known}`
  if (name === 'cosine' || name === 'constant') return `${known}; did you mean \`optimizer.schedule\`?`
  const nearest = nearestName(name, offeredSchedules)
  return nearest === undefined ? known : `${known}; did you mean ${JSON.stringify(nearest)}?`
}

type ScheduleSizes = Pick<JobSchedule, 'name' | 'chunks' | 'slices'>

/** Why the rule makes no schedule of these numbers, and which would do; undefined where it makes one. */
export function microbatchesProblem(schedule: ScheduleSizes, ranks: number, microbatches: number): string | undefined {
  const { name, chunks, slices } = schedule
  try {
    sizesOf(familyOf(name), { ranks, microbatches, chunks, slices })
    return undefined
  } catch (error) {
    if (error instanceof SkeinError && error.code === ScheduleErrors.OPTIONS.code) return error.todo
    throw error
  }
}

/** The least number of microbatches from `from` on that the rule takes; undefined where their number is not what is wrong. */
export function nextMicrobatches(schedule: ScheduleSizes, ranks: number, from: number): number | undefined {
  // Rules ask for a multiple of the ranks, or for twice as many as there are.
  for (let microbatches = from; microbatches <= from + 2 * ranks; microbatches++) {
    if (microbatchesProblem(schedule, ranks, microbatches) === undefined) return microbatches
  }
  return undefined
}

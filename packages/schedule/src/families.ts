import { nearestName, SkeinError } from '@skein/core'
import { automatic } from './automatic.ts'
import { bitpipe } from './bitpipe.ts'
import { breadthFirst } from './breadth-first.ts'
import { ScheduleErrors } from './errors.ts'
import { type Family, type ScheduleOptions, sizesOf } from './family.ts'
import { gpipe } from './gpipe.ts'
import { hanayo } from './hanayo.ts'
import { interleaved } from './interleaved.ts'
import { eagerOneFOneB, oneFOneB } from './one-f-one-b.ts'
import { pipedream } from './pipedream.ts'
import type { Schedule } from './schedule.ts'
import { skipPipe } from './skip-pipe.ts'
import { sppo } from './sppo.ts'
import { twoBP } from './two-bp.ts'
import { vHalf } from './v-half.ts'
import { vMin } from './v-min.ts'
import { zbH1, zbH2 } from './zb-h.ts'
import { zbV } from './zb-v.ts'
import { zeroPP } from './zero-pp.ts'

/** Every rule, by the name that jobs and the command line use. */
export const families: readonly Family[] = [
  gpipe,
  oneFOneB,
  eagerOneFOneB,
  interleaved,
  breadthFirst,
  twoBP,
  zbH1,
  zbH2,
  zbV,
  vHalf,
  vMin,
  hanayo,
  bitpipe,
  zeroPP,
  sppo,
  skipPipe,
  automatic,
  pipedream,
]

export const scheduleNames: readonly string[] = families.map(({ name }) => name)

/** @throws SKEIN_SCHEDULE_OPTIONS that names the nearest known name */
export function familyOf(name: string): Family {
  const family = families.find(known => known.name === name)
  if (family !== undefined) return family
  const nearest = nearestName(name, scheduleNames)
  throw new SkeinError(ScheduleErrors.OPTIONS, {
    what: `the schedule ${name} was asked for`,
    why: 'there is none of that name',
    todo: nearest === undefined ? `pass one of: ${scheduleNames.join(', ')}` : `did you mean ${nearest}?`,
    details: { name },
  })
}

/** @throws SKEIN_SCHEDULE_OPTIONS where its rule makes none of such sizes, with the sizes that would do */
export function generateSchedule(name: string, options: ScheduleOptions): Schedule {
  const family = familyOf(name)
  return family.generate(sizesOf(family, options))
}

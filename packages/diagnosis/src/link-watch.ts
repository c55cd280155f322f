import type { Ms } from '@skein/core'
import { findStuckLinks, type StuckLink } from './find-link.ts'
import type { FlightRecord } from './flight-record.ts'

/** What is known of links that do not move, from one look to the next. */
export type LinkWatchState = readonly { readonly key: string; readonly sinceMs: Ms }[]

export const noLinks: LinkWatchState = []

/** An op that takes this long deserves to be given up, if its link does not move. */
export const deadLinkMs: Ms = 10_000
/** So long no frame was completed, over several looks. */
const unmovedMs: Ms = 4_000
/** A frame that has begun to arrive is given longer: on a slow link it takes its time, and its bytes are not counted on the way. */
const inFrameMs: Ms = 60_000

/**
 * One look at the flight records of a generation. `dead`: links that are not slow but do not move at all, so that waiting helps nobody: a frame
 * was sent over them and has not even begun to arrive, though both ends are in the op, for ten seconds.
 */
export function observeLinks(
  state: LinkWatchState,
  { generation, records, nowMs }: { generation: number; records: readonly FlightRecord[]; nowMs: Ms },
): { readonly state: LinkWatchState; readonly dead: readonly StuckLink[] } {
  const stuck = findStuckLinks(records).map(link => {
    const key = keyOf(generation, link)
    return { link, key, sinceMs: state.find(known => known.key === key)?.sinceMs ?? nowMs }
  })
  const isDead = ({ link, sinceMs }: (typeof stuck)[number]) =>
    nowMs - sinceMs >= unmovedMs && link.waitedMs >= deadLinkMs && (link.inFrameMs ?? inFrameMs) >= inFrameMs
  return {
    state: stuck.map(({ key, sinceMs }) => ({ key, sinceMs })),
    dead: stuck.filter(isDead).map(({ link }) => link),
  }
}

/** Another one as soon as the link has moved. */
const keyOf = (generation: number, { src, dst, op, framesReceived, inFrameMs: since }: StuckLink): string =>
  [generation, op.channel, op.opSeq, src, dst, framesReceived, since === undefined].join(' ')

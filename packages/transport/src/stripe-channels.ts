import { SkeinError } from '@skein/core'
import { TransportErrors } from './errors.ts'

/** Channels that lanes may be opened on, striped or not; those above are the stripes'. */
const numChannels = 4
/** As many as the channel's byte has room for. */
export const maxStripes = 10

/** How a lane is striped: over one lane or several. */
export interface Stripes {
  /** Raw or WebSocket lanes that carry the frames in turns; 1 … 10. Both sides must say the same. */
  readonly stripes: number
  /** As of a lane that is not striped; 0 … 3, default 0. */
  readonly channel?: number
}

/**
 * The channels of the lanes that make a striped one, in the order in which frames take them. One stripe is an ordinary lane; no two
 * numbers of stripes share a channel, so sides that disagree wait for each other in vain instead of mixing up frames.
 * @throws SKEIN_TRANSPORT_BAD_STRIPES
 */
export function stripeChannels({ stripes, channel = 0 }: Stripes): readonly number[] {
  if (!Number.isInteger(stripes) || stripes < 1 || stripes > maxStripes) {
    throw badStripes(`a lane of ${stripes} stripes`, `1 to ${maxStripes} stripes`)
  }
  if (!Number.isInteger(channel) || channel < 0 || channel >= numChannels) {
    throw badStripes(`a striped lane on channel ${channel}`, `a channel from 0 to ${numChannels - 1}`)
  }
  const before = (stripes * (stripes - 1)) / 2
  return Array.from({ length: stripes }, (_, index) => numChannels * (before + index) + channel)
}

function badStripes(what: string, wanted: string): SkeinError {
  return new SkeinError(TransportErrors.BAD_STRIPES, { what, todo: `ask for ${wanted}` })
}

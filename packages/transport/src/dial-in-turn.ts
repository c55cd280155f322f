import { SkeinError } from '@skein/core'
import { TransportErrors } from './errors.ts'

/** For one of several coordinators, in ms: one that was stopped still takes connections, and another may lead by now. */
export const attemptOfSeveralMs = 3_000

/**
 * The first dial that succeeds, of coordinators of which one leads. Each is dialled at most once; whom a standby names is next. An error that
 * is `passing` goes on with the next address, any other is final.
 *
 * @throws the final error; else the one that leaves most hope: that one stands by, then what is worth another try
 */
export async function dialInTurn<T>(
  urls: readonly string[],
  dial: (url: string) => Promise<T>,
  passing: (error: SkeinError) => boolean = isOfOneAddress,
): Promise<T> {
  const waiting = [...urls]
  const dialled = new Set<string>()
  let failure: SkeinError | undefined
  for (let url = waiting.shift(); url !== undefined; url = waiting.shift()) {
    const place = placeOf(url)
    if (dialled.has(place)) continue
    dialled.add(place)
    try {
      return await dial(url)
    } catch (thrown) {
      if (!(thrown instanceof SkeinError) || !passing(thrown)) throw thrown
      const leader = leaderNamedBy(thrown, url)
      if (leader !== undefined) waiting.unshift(leader)
      if (failure === undefined || hopeOf(thrown) > hopeOf(failure)) failure = thrown
    }
  }
  throw failure ?? noAddress()
}

/** Another address may do. One that answers as no coordinator does can be one that ends, while another takes the lead. */
const isOfOneAddress = ({ code, retry }: SkeinError): boolean =>
  retry === 'same-op' || code === TransportErrors.HANDSHAKE_INVALID.code

const hopeOf = (error: SkeinError): number => (isStandby(error) ? 2 : error.retry === 'same-op' ? 1 : 0)

export const isStandby = (error: unknown): boolean =>
  error instanceof SkeinError && error.code === TransportErrors.STANDBY.code

/** One name for `http://h:1` and `http://h:1/`. */
const placeOf = (url: string): string => (URL.canParse(url) ? new URL(url).href : url)

/** From a standby that was dialled with TLS no address without: the token would be readable on the way. */
function leaderNamedBy(error: SkeinError, dialledUrl: string): string | undefined {
  const { leader } = error.details
  if (!isStandby(error) || typeof leader !== 'string' || !URL.canParse(leader)) return undefined
  const { protocol } = new URL(leader)
  return protocol === 'https:' || (protocol === 'http:' && !dialledUrl.startsWith('https:')) ? leader : undefined
}

function noAddress(): SkeinError {
  return new SkeinError(TransportErrors.BAD_ADDRESS, {
    what: 'no address of a coordinator was given',
    todo: 'pass at least one, such as http://10.0.0.7:4321',
  })
}

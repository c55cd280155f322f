import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { SkeinError } from '@skein/core'
import { isLoopback } from '@skein/transport'
import { CoordinatorErrors } from './errors.ts'

/** Who may speak to the coordinator. */
export interface Access {
  /** What workers must show. */
  readonly token: string
  /** False where only processes of this machine can reach the port and nobody has set a token: then reading is open. */
  readonly guardsReading: boolean
  /** Compares in constant time. */
  accepts(token: string | undefined): boolean
}

/**
 * The given token, or on loopback a drawn one of 32 hex digits.
 * @throws SKEIN_COORDINATOR_TOKEN_NEEDED beyond loopback without a token
 */
export function accessOf(host: string, given: string | undefined): Access {
  if (given === undefined && !isLoopback(host)) {
    throw new SkeinError(CoordinatorErrors.TOKEN_NEEDED, {
      what: `the coordinator was to listen on ${host} without a token`,
      why: 'anyone who reaches that address could join the run or stop it',
      todo: 'pass a token (SKEIN_TOKEN) of your choice to the coordinator and to all workers, or listen on 127.0.0.1',
      details: { host },
    })
  }
  const token = given ?? randomBytes(16).toString('hex')
  const expected = digest(token)
  return {
    token,
    guardsReading: given !== undefined,
    accepts: shown => shown !== undefined && timingSafeEqual(digest(shown), expected),
  }
}

/** The token of an `Authorization: Bearer …` header. */
export function bearerToken(header: string | undefined): string | undefined {
  return /^Bearer +(\S+)$/i.exec(header ?? '')?.[1]
}

/** What whoever starts a coordinator should know: its token can be read on the way. Undefined where it cannot. */
export function plainWarning(host: string, isTls: boolean): string | undefined {
  if (isTls || isLoopback(host)) return undefined
  return `${host} is reached beyond this machine without TLS: the token and everything else can be read on the way; see \`skein certs\``
}

const digest = (text: string) => createHash('sha256').update(text).digest()

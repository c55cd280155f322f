import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

/** Whether the request carries `Authorization: Bearer <token>` with the right token; takes as long for a nearly right one. */
export function hasToken(request: IncomingMessage, token: string): boolean {
  const given = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1]
  return given !== undefined && timingSafeEqual(digest(given), digest(token))
}

/** Whether it carries any token. */
export function showsToken(request: IncomingMessage): boolean {
  return /^Bearer +\S/i.test(request.headers.authorization ?? '')
}

const digest = (text: string) => createHash('sha256').update(text).digest()

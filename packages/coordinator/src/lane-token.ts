import { createHmac } from 'node:crypto'
import type { CoordinatorMessage } from '@skein/wire'

/**
 * Membership names the token of each generation; here the name becomes a secret. Who knows the token of one generation, a worker that was
 * put out, say, knows nothing about the next one's.
 */
export function sealLaneToken(secret: string, message: CoordinatorMessage): CoordinatorMessage {
  if (message.type !== 'generation' && message.type !== 'catch-up') return message
  return { ...message, laneToken: createHmac('sha256', secret).update(message.laneToken).digest('hex') }
}

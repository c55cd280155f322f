import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { LaneRequest } from './lane-request.ts'

/**
 * How both ends of a lane show that they know its token without saying it: an HMAC over what is asked for and a number drawn for this
 * one dial. Who reads it on the way can use it for nothing else, and not again: a door takes each number once. The listener's
 * answer is bound to the same number, so that nobody who has taken over an address can feed tensors to its dialers.
 */

/** Random bytes of a nonce; hexadecimal in the request. */
const nonceBytes = 16
const noncePattern = /^[0-9a-f]{32}$/
const proofPattern = /^[0-9a-f]{64}$/

export const laneProofNames = { nonce: 'x-skein-nonce', ask: 'x-skein-proof', answer: 'x-skein-answer' } as const

/** What a dialer shows. */
export interface LaneProof {
  readonly nonce: string
  /** 64 hex digits. */
  readonly proof: string
}

export function newNonce(): string {
  return randomBytes(nonceBytes).toString('hex')
}

export function laneProof(side: 'ask' | 'answer', token: string, request: LaneRequest, nonce: string): string {
  const { kind, generation, group, channel, from, to } = request
  const text = ['skein-lane/1', side, kind, generation, group, channel, from, to, nonce].join(' ')
  return createHmac('sha256', token).update(text).digest('hex')
}

/** The proof in the headers of a request, if there is one; whether it is right is another question. */
export function parseLaneProof(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): LaneProof | undefined {
  const nonce = headers[laneProofNames.nonce]
  const proof = headers[laneProofNames.ask]
  if (typeof nonce !== 'string' || typeof proof !== 'string') return undefined
  return noncePattern.test(nonce) && proofPattern.test(proof) ? { nonce, proof } : undefined
}

/** In constant time. */
export function isSameProof(given: unknown, wanted: string): boolean {
  return (
    typeof given === 'string' &&
    proofPattern.test(given) &&
    timingSafeEqual(Buffer.from(given, 'hex'), Buffer.from(wanted, 'hex'))
  )
}

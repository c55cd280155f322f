import { createHmac, randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { CopyPlace } from './source.ts'

/**
 * How state is asked for: `GET /state` for where the peer stands, `GET /state/<chunk>` for a chunk, and of a copy that it keeps of a part at a step
 * `GET /state/copy/<part>/<step>` and `…/<chunk>`; each with a proof that the asker knows the
 * generation's token, as lanes have (ADR 5). A proof holds for one request: its asker numbers them.
 */
export interface StateRequest {
  readonly generation: number
  /** A copy that the peer keeps; absent: the state it trains. */
  readonly copy?: CopyPlace
  /** Undefined: where the peer stands. */
  readonly chunk: number | undefined
  /** The step that the asker has; undefined: none. */
  readonly have: number | undefined
}

export interface RequestProof {
  /** 32 hex digits, drawn once by the asker. */
  readonly asker: string
  /** Rises with every request of this asker. */
  readonly number: number
  /** 64 hex digits. */
  readonly proof: string
}

export const statePath = '/state'

export const names = {
  generation: 'x-skein-generation',
  have: 'x-skein-have',
  asker: 'x-skein-asker',
  /** For logs, and for a network that is shaped by who dials; nothing is decided by it. */
  worker: 'x-skein-worker',
  number: 'x-skein-number',
  proof: 'x-skein-proof',
  answer: 'x-skein-answer',
  kind: 'x-skein-kind',
  step: 'x-skein-step',
  digest: 'x-skein-digest',
  options: 'x-skein-options',
  elems: 'x-skein-elems',
  nonce: 'x-skein-nonce',
  why: 'x-skein-reason',
} as const

export const newAsker = (): string => randomBytes(16).toString('hex')

export function pathOf({ chunk, copy }: StateRequest): string {
  const state = copy === undefined ? statePath : `${statePath}/copy/${copy.part}/${copy.step}`
  return chunk === undefined ? state : `${state}/${chunk}`
}

export function requestHeaders(
  request: StateRequest,
  token: string,
  asker: string,
  number: number,
): Record<string, string> {
  return {
    [names.generation]: String(request.generation),
    ...(request.have === undefined ? {} : { [names.have]: String(request.have) }),
    [names.asker]: asker,
    [names.number]: String(number),
    [names.proof]: proofOf('ask', token, request, { asker, number }),
  }
}

/** `said`: what the answer vouches for, such as the tag of its body. */
export function proofOf(
  side: 'ask' | 'answer',
  token: string,
  { generation, chunk, have, copy }: StateRequest,
  { asker, number }: Pick<RequestProof, 'asker' | 'number'>,
  said = '',
): string {
  const state = copy === undefined ? '-' : `${copy.part}/${copy.step}`
  const text = ['skein-state/3', side, generation, state, chunk ?? '-', have ?? '-', asker, number, said].join(' ')
  return createHmac('sha256', token).update(text).digest('hex')
}

/** Undefined where it is no such request. */
export function parseStateRequest(
  url: string,
  headers: IncomingHttpHeaders,
): { readonly request: StateRequest; readonly shown: RequestProof } | undefined {
  const path = /^\/state(?:\/copy\/(\d{1,7})\/(\d{1,15}))?(?:\/(\d{1,7}))?$/.exec(url)
  const generation = numberIn(headers[names.generation])
  const number = numberIn(headers[names.number])
  const asker = headers[names.asker]
  const proof = headers[names.proof]
  const have = headers[names.have]
  if (path === null || generation === undefined || number === undefined) return undefined
  if (typeof asker !== 'string' || !/^[0-9a-f]{32}$/.test(asker) || typeof proof !== 'string') return undefined
  if (have !== undefined && numberIn(have) === undefined) return undefined
  const [, part, step, chunk] = path
  const copy = part === undefined ? undefined : { part: Number(part), step: Number(step) }
  return {
    request: {
      generation,
      ...(copy === undefined ? {} : { copy }),
      chunk: chunk === undefined ? undefined : Number(chunk),
      have: numberIn(have),
    },
    shown: { asker, number, proof },
  }
}

export function numberIn(text: unknown): number | undefined {
  return typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}

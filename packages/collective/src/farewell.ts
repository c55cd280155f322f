import { CoreErrors, type ErrorRecord, SkeinError } from '@skein/core'
import type { FrameHeader } from '@skein/wire'
import { CollectiveErrors } from './errors.ts'

/** The last frame of a lane: why its sender ends the group. */
export interface Farewell {
  readonly header: FrameHeader
  readonly payload: Uint8Array
}

/** Longest farewell that is read. */
export const maxFarewellBytes = 16 * 1024
/** Each sentence of one, so that the longest error fits. */
const maxTextChars = 1000

/** `error` as a frame of kind `abort`, its payload JSON. */
export function encodeFarewell(
  error: SkeinError,
  from: { readonly rank: number; readonly generation: number },
): Farewell {
  const { code, retry, what, why, todo, details } = error.toJSON()
  const short = (text: string) => text.slice(0, maxTextChars)
  const record: ErrorRecord = {
    code,
    retry,
    what: short(what),
    ...(why === undefined ? {} : { why: short(why) }),
    todo: short(todo),
    // What the first rank saw stays when the error is passed on.
    details: { fromRank: from.rank, ...plain(details) },
  }
  const payload = new TextEncoder().encode(JSON.stringify(record))
  const header: FrameHeader = {
    kind: 'abort',
    dtype: 'uint8',
    flags: 0,
    generation: from.generation,
    opSeq: 0,
    fromRank: from.rank,
    algorithm: 0,
    chunk: 0,
    count: payload.byteLength,
    payloadBytes: payload.byteLength,
    opElems: 0,
    tag: 0,
    payloadChecksum: 0,
  }
  return { header, payload }
}

/** The error of a farewell from `peer`; SKEIN_COLLECTIVE_BAD_FRAME where it is none. */
export function decodeFarewell(peer: number, payload: Uint8Array): SkeinError {
  try {
    const record = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload)) as Partial<ErrorRecord>
    const { code, retry, what, why, todo, details } = record
    const isRetry = retry === 'never' || retry === 'same-op' || retry === 'next-generation'
    if (/^SKEIN_[A-Z0-9_]{1,80}$/.test(code ?? '') && isRetry && typeof what === 'string' && typeof todo === 'string') {
      return SkeinError.fromJSON({
        code: code ?? CoreErrors.INTERNAL.code,
        retry,
        what,
        ...(typeof why === 'string' ? { why } : {}),
        todo,
        details: typeof details === 'object' && details !== null ? details : {},
      })
    }
  } catch {
    // Told below.
  }
  return new SkeinError(CollectiveErrors.BAD_FRAME, {
    what: `rank ${peer} ended the group with a reason that cannot be read`,
    why: 'it runs another version of Skein',
    todo: "read that worker's log",
    details: { peer },
  })
}

/** Numbers and short texts: all that errors of collectives carry. */
function plain(details: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(details).filter(
      ([, value]) => typeof value === 'number' || (typeof value === 'string' && value.length <= maxTextChars),
    ),
  )
}

import { type ErrorCode, nearestName, SkeinError } from '@skein/core'
import { Packr, Unpackr } from 'msgpackr'
import type { z } from 'zod'
import { type CoordinatorMessage, coordinatorMessage, coordinatorMessages } from './coordinator-messages.ts'
import { toErrorRecord } from './error-record.ts'
import { WireErrors } from './errors.ts'
import { scanMsgpack } from './scan-msgpack.ts'
import { type WorkerMessage, workerMessage, workerMessages } from './worker-messages.ts'

/** Far above any job file, far below what could hurt. */
export const defaultMaxMessageBytes = 4 * 2 ** 20

/** Refusals quote at most this many problems. */
const maxQuotedIssues = 3

export type Decoded<T> = { readonly ok: true; readonly message: T } | { readonly ok: false; readonly error: SkeinError }

// No records and no extensions: every message is plain msgpack that any other implementation reads.
const packer = new Packr({ useRecords: false, moreTypes: false })
const unpacker = new Unpackr({ useRecords: false, moreTypes: false, mapsAsObjects: true })

/**
 * A worker's message as msgpack. Keys whose value is undefined are left out, errors are cut to what a message may carry.
 * @throws SKEIN_WIRE_MESSAGE_INVALID (also for a typed array anywhere in it), SKEIN_WIRE_MESSAGE_TOO_LARGE
 */
export function encodeWorkerMessage(message: WorkerMessage, maxBytes = defaultMaxMessageBytes): Uint8Array {
  return encode(workerMessage, workerTypes, message, maxBytes)
}

/** A coordinator's message as msgpack; otherwise as `encodeWorkerMessage`. */
export function encodeCoordinatorMessage(message: CoordinatorMessage, maxBytes = defaultMaxMessageBytes): Uint8Array {
  return encode(coordinatorMessage, coordinatorTypes, message, maxBytes)
}

/** Reads bytes of a stranger as a worker's message. Never throws; allocates in proportion to the bytes given. */
export function decodeWorkerMessage(bytes: Uint8Array, maxBytes = defaultMaxMessageBytes): Decoded<WorkerMessage> {
  return decode(workerMessage, workerTypes, bytes, maxBytes)
}

/** Reads bytes of a stranger as a coordinator's message; otherwise as `decodeWorkerMessage`. */
export function decodeCoordinatorMessage(
  bytes: Uint8Array,
  maxBytes = defaultMaxMessageBytes,
): Decoded<CoordinatorMessage> {
  return decode(coordinatorMessage, coordinatorTypes, bytes, maxBytes)
}

const workerTypes: readonly string[] = workerMessages.map(schema => schema.shape.type.value)
const coordinatorTypes: readonly string[] = coordinatorMessages.map(schema => schema.shape.type.value)

function encode<T extends object>(
  schema: z.ZodType<T>,
  types: readonly string[],
  message: T,
  maxBytes: number,
): Uint8Array {
  const checked = schema.safeParse(sendable(message))
  if (!checked.success) throw invalid(message, types, checked.error)
  const bytes: Uint8Array = packer.pack(checked.data)
  if (bytes.byteLength > maxBytes) throw tooLarge(bytes.byteLength, maxBytes)
  return bytes
}

function decode<T>(schema: z.ZodType<T>, types: readonly string[], bytes: Uint8Array, maxBytes: number): Decoded<T> {
  if (bytes.byteLength > maxBytes) return { ok: false, error: tooLarge(bytes.byteLength, maxBytes) }
  const problem = scanMsgpack(bytes)
  if (problem !== undefined) return { ok: false, error: garbage(bytes, problem) }
  let value: unknown
  try {
    value = unpacker.unpack(bytes)
  } catch (cause) {
    return { ok: false, error: garbage(bytes, 'not readable', cause) }
  }
  const checked = schema.safeParse(value)
  return checked.success
    ? { ok: true, message: checked.data }
    : { ok: false, error: invalid(value, types, checked.error) }
}

function sendable(message: object): Record<string, unknown> {
  const fields: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(message)) if (value !== undefined) fields[key] = value
  if ('error' in message && isErrorLike(message.error)) fields['error'] = toErrorRecord(message.error)
  return fields
}

function isErrorLike(value: unknown): value is SkeinError {
  return typeof value === 'object' && value !== null && 'code' in value && 'details' in value && 'what' in value
}

function tooLarge(bytes: number, maxBytes: number): SkeinError {
  return new SkeinError(WireErrors.MESSAGE_TOO_LARGE, {
    what: `a control message of ${bytes} B; at most ${maxBytes} B travel`,
    why: 'a job or text of unusual size, or bytes that are not a message',
    todo: 'put large data into files and name their paths',
    details: { bytes, maxBytes },
  })
}

function garbage(bytes: Uint8Array, problem: string, cause?: unknown): SkeinError {
  return new SkeinError(WireErrors.MESSAGE_GARBAGE, {
    what: `${bytes.byteLength} B that are not a control message: ${problem}`,
    why: 'the peer is not a Skein process, or speaks another version',
    todo: 'run the same version on all machines; this link is closed',
    ...(cause === undefined ? {} : { cause }),
  })
}

function invalid(value: unknown, types: readonly string[], error: z.ZodError): SkeinError {
  const type = typeof value === 'object' && value !== null && 'type' in value ? value.type : undefined
  const row: ErrorCode = WireErrors.MESSAGE_INVALID
  if (typeof type !== 'string' || !types.includes(type)) {
    const given = typeof type === 'string' ? `"${type.slice(0, 100)}"` : 'none'
    const nearest = typeof type === 'string' ? nearestName(type.slice(0, 100), types) : undefined
    return new SkeinError(row, {
      what: `a control message of type ${given}`,
      why: `known here are ${types.join(', ')}${nearest === undefined ? '' : `; "${nearest}" is the nearest`}`,
      todo: 'run the same version on all machines',
    })
  }
  const issues = error.issues.map(issue => `${issue.path.join('.') || type}: ${issue.message}`.slice(0, 300))
  const more = issues.length > maxQuotedIssues ? `; and ${issues.length - maxQuotedIssues} more` : ''
  return new SkeinError(row, {
    what: `the control message "${type}" is not as it must be: ${issues.slice(0, maxQuotedIssues).join('; ')}${more}`,
    why: 'another version of Skein, or a defect',
    todo: 'run the same version on all machines; else report it',
    details: { type },
  })
}

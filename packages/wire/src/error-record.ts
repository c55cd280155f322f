import { type ErrorRecord, SkeinError } from '@skein/core'

const maxTextLength = 4_000
const maxDetailLength = 1_000
const maxDetailItems = 64
const maxDetailDepth = 4

/**
 * An error in the form that any control message takes: texts cut to their limits, details reduced to JSON. It never throws: the
 * report of a failure must not fail on what the failure carried.
 */
export function toErrorRecord(error: SkeinError | ErrorRecord): ErrorRecord {
  const record = error instanceof SkeinError ? error.toJSON() : error
  return {
    code: record.code,
    retry: record.retry,
    what: cut(record.what, maxTextLength),
    ...(record.why === undefined ? {} : { why: cut(record.why, maxTextLength) }),
    todo: cut(record.todo, maxTextLength),
    details: plainDetails(record.details),
  }
}

function plainDetails(details: object): Record<string, unknown> {
  try {
    return plainObject(details, 0)
  } catch {
    return { unreadable: true } // a getter that throws
  }
}

function plainObject(value: object, depth: number): Record<string, unknown> {
  const plain: Record<string, unknown> = {}
  for (const [key, item] of Object.entries(value).slice(0, maxDetailItems)) {
    if (item === undefined || typeof item === 'function' || key === '__proto__') continue
    plain[cut(key, maxDetailLength)] = plainValue(item, depth + 1)
  }
  return plain
}

function plainValue(value: unknown, depth: number): unknown {
  if (value === null || typeof value === 'boolean') return value
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
  if (typeof value === 'string') return cut(value, maxDetailLength)
  if (value instanceof Error) return cut(value.message, maxDetailLength)
  if (ArrayBuffer.isView(value)) return `${value.constructor.name} of ${value.byteLength} B`
  if (typeof value === 'bigint') return value.toString()
  if (typeof value !== 'object') return `a ${typeof value}`
  if (depth >= maxDetailDepth) return '…'
  if (Array.isArray(value)) return value.slice(0, maxDetailItems).map(item => plainValue(item, depth + 1))
  return plainObject(value, depth)
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`
}

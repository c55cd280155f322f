import { maxJsonDepth } from './json-value.ts'

/**
 * Walks one msgpack value without building anything: is it whole, of plain kinds (nil, bool, numbers, strings, arrays, maps with
 * string keys), nested at most 32 deep, and does every claimed length fit into the bytes that are there? Returns the problem, or
 * undefined. A decoder that runs after it allocates no more than the bytes justify.
 */
export function scanMsgpack(bytes: Uint8Array): string | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const end = scanValue(view, 0, 0)
  if (typeof end === 'string') return end
  return end === view.byteLength ? undefined : `${view.byteLength - end} B after the value`
}

/** The offset after the value at `at`, or a problem. */
function scanValue(view: DataView, at: number, depth: number): number | string {
  if (at >= view.byteLength) return `cut short at byte ${at}`
  const code = view.getUint8(at)
  if (code <= 0x7f || code >= 0xe0) return at + 1
  if (code <= 0x8f) return scanItems(view, at + 1, code & 0x0f, true, depth)
  if (code <= 0x9f) return scanItems(view, at + 1, code & 0x0f, false, depth)
  if (code <= 0xbf) return skip(view, at + 1, code & 0x1f)
  switch (code) {
    case 0xc0: // nil
    case 0xc2: // false
    case 0xc3: // true
      return at + 1
    case 0xcc: // uint8
    case 0xd0: // int8
      return skip(view, at + 1, 1)
    case 0xcd: // uint16
    case 0xd1: // int16
      return skip(view, at + 1, 2)
    case 0xca: // float32
    case 0xce: // uint32
    case 0xd2: // int32
      return skip(view, at + 1, 4)
    case 0xcb: // float64
    case 0xcf: // uint64
    case 0xd3: // int64
      return skip(view, at + 1, 8)
    case 0xd9: // str8
    case 0xda: // str16
    case 0xdb: // str32
      return scanSized(view, at + 1, 2 ** (code - 0xd9), (from, length) => skip(view, from, length))
    case 0xdc: // array16
    case 0xdd: // array32
      return scanSized(view, at + 1, 2 ** (code - 0xdb), (from, n) => scanItems(view, from, n, false, depth))
    case 0xde: // map16
    case 0xdf: // map32
      return scanSized(view, at + 1, 2 ** (code - 0xdd), (from, n) => scanItems(view, from, n, true, depth))
    default:
      return `byte 0x${code.toString(16)} at ${at}, a kind that control messages do not use`
  }
}

/** Reads the big-endian length of `sizeBytes` (1, 2, 4) at `at`, then goes on behind it. */
function scanSized(
  view: DataView,
  at: number,
  sizeBytes: number,
  rest: (from: number, length: number) => number | string,
): number | string {
  if (at + sizeBytes > view.byteLength) return `cut short at byte ${view.byteLength}`
  const length = sizeBytes === 1 ? view.getUint8(at) : sizeBytes === 2 ? view.getUint16(at) : view.getUint32(at)
  return rest(at + sizeBytes, length)
}

function scanItems(view: DataView, from: number, n: number, isMap: boolean, depth: number): number | string {
  if (depth >= maxJsonDepth) return `nested over ${maxJsonDepth} deep at byte ${from}`
  const leastBytes = isMap ? 2 * n : n
  if (leastBytes > view.byteLength - from) return `claims ${n} items where ${view.byteLength - from} B are left`
  let at = from
  for (let i = 0; i < n; i++) {
    if (isMap && !isString(view, at)) return `a key that is not a string at byte ${at}`
    for (let part = isMap ? 0 : 1; part < 2; part++) {
      const next = scanValue(view, at, depth + 1)
      if (typeof next === 'string') return next
      at = next
    }
  }
  return at
}

function isString(view: DataView, at: number): boolean {
  if (at >= view.byteLength) return false
  const code = view.getUint8(at)
  return (code >= 0xa0 && code <= 0xbf) || (code >= 0xd9 && code <= 0xdb)
}

function skip(view: DataView, from: number, length: number): number | string {
  if (length > view.byteLength - from) return `claims ${length} B where ${view.byteLength - from} are left`
  return from + length
}

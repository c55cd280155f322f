import { formatShape, numElements, SkeinError } from '@skein/core'
import { CheckpointErrors } from './errors.ts'

/** Element types of the format that are known here, with their bytes. */
export const safetensorsDtypeBytes = {
  F64: 8,
  I64: 8,
  F32: 4,
  I32: 4,
  BF16: 2,
  F16: 2,
  U8: 1,
  I8: 1,
  BOOL: 1,
} as const

export type SafetensorsDtype = keyof typeof safetensorsDtypeBytes

/** Where a tensor lies in a file: bytes [from, to) counted from the start of the file. */
export interface TensorEntry {
  readonly name: string
  readonly dtype: SafetensorsDtype
  readonly shape: readonly number[]
  readonly from: number
  readonly to: number
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorEntry>
  readonly metadata: Readonly<Record<string, string>>
  /** Length of the whole file. */
  readonly fileBytes: number
}

/** The longest header that is believed, as in the reference implementation. */
export const maxHeaderBytes = 100_000_000
const lengthBytes = 8

/**
 * The first bytes of a file whose tensors follow in this order without gaps: u64 length, then JSON padded with spaces so that
 * the tensors begin at a multiple of 8. @see https://github.com/huggingface/safetensors, "Format"
 */
export function encodeHeader(
  tensors: readonly { readonly name: string; readonly dtype: SafetensorsDtype; readonly shape: readonly number[] }[],
  metadata: Readonly<Record<string, string>>,
): { readonly bytes: Uint8Array<ArrayBuffer>; readonly fileBytes: number } {
  const fields: [string, unknown][] = Object.keys(metadata).length === 0 ? [] : [['__metadata__', metadata]]
  const names = new Set(['__metadata__'])
  let at = 0
  for (const { name, dtype, shape } of tensors) {
    if (names.has(name)) {
      throw new SkeinError(CheckpointErrors.TENSORS, {
        what: `the tensor name ${JSON.stringify(name)} cannot be written twice`,
        todo: 'give every tensor a name of its own',
        details: { name },
      })
    }
    names.add(name)
    const bytes = numElements(shape) * safetensorsDtypeBytes[dtype]
    fields.push([name, { dtype, shape, data_offsets: [at, at + bytes] }])
    at += bytes
  }
  // Written by hand: an object would move a tensor named "1" to the front and lose one named "__proto__".
  const json = new TextEncoder().encode(
    `{${fields.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`,
  )
  const padded = Math.ceil(json.length / 8) * 8
  const bytes = new Uint8Array(lengthBytes + padded).fill(0x20)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true)
  bytes.set(json, lengthBytes)
  return { bytes, fileBytes: bytes.length + at }
}

/** Bytes of header text that follow the first 8, checked against the file before anything of that size is read. */
export function headerBytes(first8: Uint8Array, fileBytes: number, file: string): number {
  if (first8.length < lengthBytes) throw malformed(file, `has ${fileBytes} B, the header's length alone takes 8`)
  const length = new DataView(first8.buffer, first8.byteOffset, lengthBytes).getBigUint64(0, true)
  if (length > BigInt(maxHeaderBytes) || length > BigInt(fileBytes - lengthBytes)) {
    throw malformed(file, `announces a header of ${length} B, and has ${fileBytes} B`)
  }
  return Number(length)
}

/** Parses and checks a header: dtypes known, offsets in order without gaps or overlaps, lengths right, nothing left over. */
export function parseHeader(json: Uint8Array, fileBytes: number, file: string): SafetensorsHeader {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(json))
  } catch (cause) {
    throw malformed(file, 'has a header that is not JSON', cause)
  }
  if (!isRecord(value)) throw malformed(file, 'has a header that is not an object')
  const start = lengthBytes + json.length
  const metadata: Record<string, string> = {}
  const entries: TensorEntry[] = []
  for (const [name, field] of Object.entries(value)) {
    if (name === '__metadata__') {
      if (!isRecord(field)) throw malformed(file, 'has metadata that is not an object')
      for (const [key, text] of Object.entries(field)) metadata[key] = String(text)
    } else entries.push(parseEntry(name, field, start, file))
  }
  entries.sort((a, b) => a.from - b.from || a.to - b.to)
  let at = start
  for (const { name, from, to } of entries) {
    if (from !== at) throw malformed(file, `has a gap or an overlap before tensor ${JSON.stringify(name)}`)
    at = to
  }
  if (at !== fileBytes) throw malformed(file, `has ${fileBytes} B, its header speaks of ${at}`)
  return { tensors: new Map(entries.map(entry => [entry.name, entry])), metadata, fileBytes }
}

function parseEntry(name: string, field: unknown, start: number, file: string): TensorEntry {
  const of = `tensor ${JSON.stringify(name)}`
  if (!isRecord(field)) throw malformed(file, `has a header without facts about ${of}`)
  const { dtype, shape, data_offsets: offsets } = field
  if (typeof dtype !== 'string' || !Object.hasOwn(safetensorsDtypeBytes, dtype)) {
    throw malformed(file, `has ${of} of dtype ${JSON.stringify(dtype)}, which is unknown here`)
  }
  if (!isNaturals(shape)) throw malformed(file, `has ${of} with shape ${JSON.stringify(shape)}`)
  if (!isNaturals(offsets) || offsets.length !== 2) {
    throw malformed(file, `has ${of} with offsets ${JSON.stringify(offsets)}`)
  }
  const known = dtype as SafetensorsDtype
  const [from, to] = offsets as [number, number]
  if (to - from !== numElements(shape) * safetensorsDtypeBytes[known]) {
    throw malformed(file, `has ${of} of ${dtype} ${formatShape(shape)} in ${to - from} B`)
  }
  return { name, dtype: known, shape, from: start + from, to: start + to }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isNaturals(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every(item => Number.isSafeInteger(item) && item >= 0)
}

export function malformed(file: string, what: string, cause?: unknown): SkeinError {
  return new SkeinError(CheckpointErrors.SAFETENSORS, {
    what: `${file} ${what}`,
    why: 'the file was cut short, overwritten, or is not safetensors',
    todo: 'take another copy or an older checkpoint',
    details: { file },
    ...(cause === undefined ? {} : { cause }),
  })
}

/** Just enough of protobuf's encoding to write a GraphDef. @see https://protobuf.dev/programming-guides/encoding */

function varint(value: number | bigint): Uint8Array {
  let rest = BigInt.asUintN(64, BigInt(value))
  const out: number[] = []
  do {
    const low = Number(rest & 0x7fn)
    rest >>= 7n
    out.push(rest === 0n ? low : low | 0x80)
  } while (rest !== 0n)
  return Uint8Array.from(out)
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** A field of wire type 0: int, enum, bool; negative numbers as 64-bit two's complement. */
export function varintField(field: number, value: number): Uint8Array {
  return concatBytes([varint(field * 8), varint(value)])
}

/** A field of wire type 2: string (UTF-8), bytes or message. */
export function bytesField(field: number, value: Uint8Array | string): Uint8Array {
  const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : value
  return concatBytes([varint(field * 8 + 2), varint(bytes.length), bytes])
}

/** A message made of fields. */
export function messageField(field: number, ...fields: readonly Uint8Array[]): Uint8Array {
  return bytesField(field, concatBytes(fields))
}

/** A field of wire type 5: float. */
export function floatField(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setFloat32(0, value, true)
  return concatBytes([varint(field * 8 + 5), bytes])
}

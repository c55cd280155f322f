import { dtypeBytes, seededRandom } from '@skein/core'
import { fuzzRuns, useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeHeader, type FrameLimits } from './decode-header.ts'
import { encodeHeader, headerChecksum } from './encode-header.ts'
import { WireErrors } from './errors.ts'
import { type FrameHeader, frameDTypeCodes, frameKindCodes, headerBytes } from './frame-header.ts'

const seed = useTestSeed()
const uint = (bits: number) => fc.integer({ min: 0, max: 2 ** bits - 1 })
const keysOf = <T extends string>(record: Readonly<Record<T, number>>) => Object.keys(record) as T[]
const limits: FrameLimits = { maxPayloadBytes: 2 ** 32 }

const headers: fc.Arbitrary<FrameHeader> = fc
  .record({
    kind: fc.constantFrom(...keysOf(frameKindCodes)),
    dtype: fc.constantFrom(...keysOf(frameDTypeCodes)),
    flags: uint(8),
    generation: uint(32),
    opSeq: uint(32),
    fromRank: uint(16),
    algorithm: uint(16),
    chunk: uint(32),
    count: uint(30),
    opElems: uint(32),
    tag: uint(32),
    payloadChecksum: uint(32),
  })
  .map(header => {
    const count = Math.floor(header.count / dtypeBytes[header.dtype])
    return { ...header, count, payloadBytes: count * dtypeBytes[header.dtype] }
  })

const sample: FrameHeader = {
  kind: 'data',
  dtype: 'float32',
  flags: 0,
  generation: 7,
  opSeq: 1000,
  fromRank: 2,
  algorithm: 1,
  chunk: 3,
  count: 65_536,
  payloadBytes: 262_144,
  opElems: 1_000_000,
  tag: 0,
  payloadChecksum: 0xdeadbeef,
}

function encoded(header: FrameHeader): DataView {
  const view = new DataView(new ArrayBuffer(headerBytes))
  encodeHeader(view, 0, header)
  return view
}

/** The code of the refusal, or 'ok'. */
function verdict(view: DataView, given = limits): string {
  const decoded = decodeHeader(view, 0, given)
  return decoded.ok ? 'ok' : decoded.error.code
}

test('every header comes back as it was, at any offset, and nothing beside it is touched', () => {
  fc.assert(
    fc.property(headers, fc.nat(64), (header, offset) => {
      const bytes = new Uint8Array(offset + headerBytes + 8).fill(0xaa)
      encodeHeader(new DataView(bytes.buffer), offset, header)
      expect(decodeHeader(new DataView(bytes.buffer), offset, limits)).toEqual({ ok: true, header })
      expect(bytes.subarray(0, offset).every(b => b === 0xaa)).toBe(true)
      expect(bytes.subarray(offset + headerBytes).every(b => b === 0xaa)).toBe(true)
    }),
  )
})

test('the bytes of one header are those of the table in the README', () => {
  const view = encoded(sample)
  const hex = Array.from(new Uint8Array(view.buffer), b => b.toString(16).padStart(2, '0')).join('')
  const table = [
    '534b454e 01 01 01 00', // magic "SKEN", version, kind, dtype, flags
    '07000000 e8030000', // generation, opSeq
    '0200 0100 03000000', // fromRank, algorithm, chunk
    '00000100 00000400', // count, payloadBytes
    '40420f00 00000000', // opElems, tag
    'efbeadde', // payloadChecksum
  ]
  expect(hex.slice(0, 88)).toBe(table.join('').replaceAll(' ', ''))
  expect(view.getUint32(44, true)).toBe(headerChecksum(view, 0))
})

test('any changed bit of a header is refused', () => {
  for (let bit = 0; bit < headerBytes * 8; bit++) {
    const view = encoded(sample)
    view.setUint8(bit >> 3, view.getUint8(bit >> 3) ^ (1 << (bit & 7)))
    expect(verdict(view), `bit ${bit}`).not.toBe('ok')
  }
})

test('40,000 mutated and random headers never throw, and what passes is within the limits', () => {
  const random = seededRandom(seed)
  const small = { maxPayloadBytes: 1000, generation: 7, fromRank: 2 }
  for (let round = 0; round < fuzzRuns(40_000); round++) {
    const view = encoded(sample)
    if (round % 4 === 0) for (let at = 0; at < headerBytes; at++) view.setUint8(at, random.nextInt(256))
    for (let change = random.nextInt(6); change >= 0; change--) view.setUint8(random.nextInt(44), random.nextInt(256))
    if (round % 2 === 0) view.setUint32(44, headerChecksum(view, 0), true) // a liar who can compute checksums
    const decoded = decodeHeader(view, 0, small)
    if (!decoded.ok) continue
    expect(decoded.header.payloadBytes).toBeLessThanOrEqual(1000)
    expect(decoded.header.payloadBytes).toBe(decoded.header.count * dtypeBytes[decoded.header.dtype])
    expect(decoded.header).toMatchObject({ generation: 7, fromRank: 2 })
  }
})

test('each kind of bad header has its own code', () => {
  const changed = (at: number, value: number) => {
    const view = encoded(sample)
    view.setUint8(at, value)
    view.setUint32(44, headerChecksum(view, 0), true)
    return view
  }
  expect(verdict(new DataView(new ArrayBuffer(47)))).toBe(WireErrors.FRAME_TRUNCATED.code)
  expect(verdict(new DataView(new ArrayBuffer(48)))).toBe(WireErrors.FRAME_GARBAGE.code)
  expect(verdict(changed(4, 2))).toBe(WireErrors.FRAME_VERSION.code)
  expect(verdict(changed(5, 99))).toBe(WireErrors.FRAME_MALFORMED.code)
  expect(verdict(changed(6, 0))).toBe(WireErrors.FRAME_MALFORMED.code)
  expect(verdict(changed(28, 1))).toBe(WireErrors.FRAME_MALFORMED.code)
  expect(verdict(encoded(sample), { maxPayloadBytes: 262_143 })).toBe(WireErrors.FRAME_TOO_LARGE.code)
  expect(verdict(encoded(sample), { ...limits, generation: 8 })).toBe(WireErrors.FRAME_GENERATION.code)
  expect(verdict(encoded(sample), { ...limits, fromRank: 1 })).toBe(WireErrors.FRAME_SENDER.code)
  expect(verdict(encoded(sample), { maxPayloadBytes: 262_144, generation: 7, fromRank: 2 })).toBe('ok')
})

test('a header that does not fit its fields is refused at the sender, with the field named', () => {
  expect(() => encoded({ ...sample, fromRank: 65_536 })).toThrow(/fromRank is 65536/)
  expect(() => encoded({ ...sample, opSeq: -1 })).toThrow(/opSeq is -1/)
  expect(() => encoded({ ...sample, chunk: 0.5 })).toThrow(/chunk is 0.5/)
  expect(() => encoded({ ...sample, payloadBytes: 8 })).toThrow(/payloadBytes is 8: not 65536 elements/)
})

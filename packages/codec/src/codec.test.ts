import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type CodecName, codecById, codecOf, codecs } from './codec.ts'
import { codecTwin } from './twins.ts'

useTestSeed()

const encode = (name: CodecName, values: readonly number[]) => {
  const bytes = new Uint8Array(codecOf(name).encodedBytes(values.length))
  const flag = codecTwin(name).encode(bytes, Float32Array.from(values))
  return { flag, hex: Buffer.from(bytes).toString('hex') }
}

describe('what the README says of the wire, byte by byte', () => {
  test('int8: scale 2^-3 little endian, codes, zeros to a multiple of 4', () => {
    // absmax 15.875 = 127/8; 0.0625 is half a step and goes to the even code 0, 0.1875 to 2.
    expect(encode('int8', [15.875, -15.875, 0.0625, 0.1875, -1])).toEqual({
      flag: 0,
      hex: '0000003e' + '7f810002' + 'f8000000',
    })
  })

  test('int4: scale 1, the even element in the low half of each byte', () => {
    expect(encode('int4', [7, -7, 0.5, 1.5, 3])).toEqual({ flag: 0, hex: '0000803f' + '97200300' })
  })

  test('fp16 and bf16: two bytes each, an odd count padded with one zero', () => {
    expect(encode('fp16', [1, -2, 65504])).toEqual({ flag: 0, hex: '003c00c0' + 'ff7b0000' })
    expect(encode('bf16', [1, -2, 1.00390625])).toEqual({ flag: 0, hex: '803f00c0' + '803f0000' })
  })

  test('a block of zeros has the least scale and decodes to +0; no elements are no bytes', () => {
    expect(encode('int8', [0, -0])).toEqual({ flag: 0, hex: '00008000' + '00000000' })
    for (const { name } of codecs) expect(encode(name, [])).toEqual({ flag: 0, hex: '' })
  })

  test('a NaN or infinity makes its whole block NaN in int8 and int4, itself in fp16 and bf16', () => {
    expect(encode('int8', [1, Infinity])).toEqual({ flag: 1, hex: '0000c07f' + '00000000' })
    expect(encode('int4', [NaN, 1])).toEqual({ flag: 1, hex: '0000c07f' + '00000000' })
    expect(encode('fp16', [65520, -NaN])).toEqual({ flag: 1, hex: '007c007e' })
    expect(encode('bf16', [3.4e38, -Infinity])).toEqual({ flag: 1, hex: '807f80ff' })
  })
})

describe.each(codecs)('$name', codec => {
  const { name, blockElems } = codec

  test('ranges that start at a block are encoded alone as they are within the whole', () => {
    fc.assert(
      fc.property(fc.nat(1500), fc.nat(20), fc.nat(700), (n, firstBlock, length) => {
        const from = Math.min(firstBlock * blockElems, n - (n % blockElems))
        const to = Math.min(n, from + Math.ceil(length / blockElems) * blockElems)
        const values = Float32Array.from({ length: n }, (_, i) => Math.sin(i * i))
        const whole = new Uint8Array(codec.encodedBytes(n))
        const part = new Uint8Array(codec.encodedBytes(to - from))
        codecTwin(name).encode(whole, values.slice())
        codecTwin(name).encode(part, values.slice(from, to))
        expect(part).toEqual(whole.slice(codec.encodedBytes(from), codec.encodedBytes(from) + part.length))
      }),
      { numRuns: 50 },
    )
  })

  test('encoded forms are multiples of 4 B and grow with the count', () => {
    for (let n = 0; n < 1100; n++) {
      expect(codec.encodedBytes(n) % 4).toBe(0)
      expect(codec.encodedBytes(n + 1)).toBeGreaterThanOrEqual(codec.encodedBytes(n))
    }
    expect(codec.encodedBytes(2 * blockElems)).toBe(2 * codec.encodedBytes(blockElems))
  })

  test('is found by name and id', () => {
    expect(codecOf(name)).toBe(codec)
    expect(codecById(codec.id)).toBe(codec)
  })
})

test('bytes of a block and of tails', () => {
  const bytes = (name: CodecName, ...counts: number[]) => counts.map(n => codecOf(name).encodedBytes(n))
  expect(bytes('int8', 0, 1, 4, 5, 255, 256, 257, 512)).toEqual([0, 8, 8, 12, 260, 260, 268, 520])
  expect(bytes('int4', 0, 1, 8, 9, 63, 64, 65, 128)).toEqual([0, 8, 8, 12, 36, 36, 44, 72])
  expect(bytes('fp16', 0, 1, 2, 3)).toEqual([0, 4, 4, 8])
  expect(bytes('bf16', 0, 1, 2, 3)).toEqual([0, 4, 4, 8])
})

test('an unknown codec is refused, the nearest named', () => {
  expect(() => codecOf('int88')).toThrow(/"int8" is the nearest/)
  expect(() => codecOf('toString')).toThrow(expect.objectContaining({ code: 'SKEIN_CODEC_UNKNOWN' }))
  expect(() => codecById(0)).toThrow(expect.objectContaining({ code: 'SKEIN_CODEC_UNKNOWN' }))
})

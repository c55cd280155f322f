import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { temporaryFolder, useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { toBfloat16 } from './half-floats.ts'
import { openSafetensors } from './read-safetensors.ts'
import type { NamedTensor } from './tensor.ts'
import { writeSafetensors } from './write-safetensors.ts'

useTestSeed()

/** Written by Python safetensors 0.8.0 from torch tensors of every dtype (see the README). */
const pythonFile = fileURLToPath(new URL('../fixtures/python.safetensors', import.meta.url))

const code = (suffix: string) => expect.objectContaining({ code: `SKEIN_CHECKPOINT_${suffix}` })

describe('reading', () => {
  test('a file of Python safetensors gives the values that Python wrote', async () => {
    await using file = await openSafetensors(pythonFile)
    const values = async (name: string) => [...(await file.read(name)).data]
    expect(file.header.metadata).toEqual({ format: 'pt', 'made by': 'python safetensors' })
    expect(await values('floats')).toEqual([
      0,
      -0,
      1.5,
      Math.fround(3.4e38),
      Math.fround(1e-40),
      Number.NEGATIVE_INFINITY,
    ])
    expect(await values('ints')).toEqual([-(2 ** 31), 2 ** 31 - 1, 0, 7])
    expect(await values('brain')).toEqual([1, -3.140625, Number.NaN, expect.closeTo(1e38, -36)])
    expect(await values('half')).toEqual([1, -2.5, 2 ** -24, 65504, Number.POSITIVE_INFINITY])
    expect(await values('bytes')).toEqual([0, 255, 3])
    expect(await values('longs')).toEqual([-5, 2 ** 30])
    expect(await values('doubles')).toEqual([Math.fround(0.1)])
    expect(await values('flags')).toEqual([1, 0])
    expect(await file.read('scalar')).toMatchObject({ shape: [], data: Float32Array.of(42) })
    expect(await file.read('empty')).toMatchObject({ shape: [0, 3], data: new Float32Array(0) })
    expect((await file.read('floats')).shape).toEqual([2, 3])
  })

  test('a tensor is read into memory that other threads share', async () => {
    const data = new Float32Array(new SharedArrayBuffer(64), 16, 6)
    await using file = await openSafetensors(pythonFile)
    await file.readInto({ name: 'mine', shape: [2, 3], data }, 'floats')
    expect(data[2]).toBe(1.5)
  })

  test('a tensor of another shape, another kind or no such name is refused', async () => {
    await using file = await openSafetensors(pythonFile)
    const into = (name: string, shape: number[]) => file.readInto({ name, shape, data: new Float32Array(6) })
    await expect(into('floats', [3, 2])).rejects.toThrow(code('TENSORS'))
    await expect(into('nothing', [6])).rejects.toThrow(code('TENSORS'))
    await expect(file.readInto({ name: 'ints', shape: [4], data: new Float32Array(4) })).rejects.toThrow(
      code('TENSORS'),
    )
    await expect(file.readInto({ name: 'floats', shape: [2, 3], data: new Float32Array(5) })).rejects.toThrow(
      code('TENSORS'),
    )
  })

  test('a file cut short anywhere is refused, never read as something else', async () => {
    using folder = temporaryFolder('safetensors')
    const whole = fs.readFileSync(pythonFile)
    const file = path.join(folder.path, 'cut.safetensors')
    for (let bytes = 0; bytes < whole.length; bytes += 7) {
      fs.writeFileSync(file, whole.subarray(0, bytes))
      await expect(openSafetensors(file)).rejects.toThrow(code('SAFETENSORS'))
    }
  })

  test('headers that lie are refused', async () => {
    using folder = temporaryFolder('safetensors')
    const file = path.join(folder.path, 'lies.safetensors')
    const refused = async (header: string, dataBytes: number, length = BigInt(header.length)) => {
      const first = new BigUint64Array([length])
      fs.writeFileSync(file, Buffer.concat([Buffer.from(first.buffer), Buffer.from(header), Buffer.alloc(dataBytes)]))
      await expect(openSafetensors(file)).rejects.toThrow(code('SAFETENSORS'))
    }
    await refused('{}', 0, 2n ** 63n)
    await refused('{}', 4)
    await refused('[]', 0)
    await refused('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}', 8)
    await refused('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', 4)
    await refused('{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}', 4)
    await refused('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', 8)
    await refused(
      '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
      8,
    )
  })
})

describe('writing', () => {
  test('what is written comes back with the same bits, aligned to 8 bytes', async () => {
    using folder = temporaryFolder('safetensors')
    const file = path.join(folder.path, 'a.safetensors')
    const tensor = fc.record({
      values: fc.array(fc.oneof(fc.float(), fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })), { maxLength: 20 }),
      isInt: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.string(), tensor), async drawn => {
        const tensors = Object.entries(drawn)
          .filter(([name]) => name !== '__metadata__')
          .map(([name, { values, isInt }]): NamedTensor => {
            return { name, shape: [values.length], data: isInt ? Int32Array.from(values) : Float32Array.from(values) }
          })
        const { bytes } = await writeSafetensors(file, tensors, { metadata: { a: 'b' } })
        expect(fs.statSync(file).size).toBe(bytes)
        await using read = await openSafetensors(file)
        for (const { name, data } of tensors) expect((await read.read(name)).data).toEqual(data)
        for (const { from } of read.header.tensors.values()) expect(from % 4).toBe(0)
        expect(fs.readFileSync(file).readUInt32LE(0) % 8).toBe(0)
      }),
      { numRuns: 30 },
    )
  })

  test('views of shared memory are written without their surroundings', async () => {
    using folder = temporaryFolder('safetensors')
    const file = path.join(folder.path, 'shared.safetensors')
    const memory = new Float32Array(new SharedArrayBuffer(1024)).fill(9)
    const data = memory.subarray(16, 20).fill(3)
    await writeSafetensors(file, [{ name: 'x', shape: [2, 2], data }])
    await using read = await openSafetensors(file)
    expect([...(await read.read('x')).data]).toEqual([3, 3, 3, 3])
    expect(read.header.fileBytes).toBe(fs.statSync(file).size)
  })

  test('bfloat16 rounds to nearest even and keeps NaN and infinity', () => {
    const values = Float32Array.of(1, 1.00390625, 1.01171875, -1e30, Number.NaN, Number.POSITIVE_INFINITY, 3.4e38)
    expect([...toBfloat16(values)].map(bits => bits.toString(16))).toEqual([
      '3f80',
      '3f80',
      '3f82',
      'f14a',
      '7fc0',
      '7f80',
      '7f80',
    ])
  })

  test('bfloat16 on disk comes back within its precision, integers exactly', async () => {
    using folder = temporaryFolder('safetensors')
    const file = path.join(folder.path, 'brain.safetensors')
    const data = Float32Array.from({ length: 33 }, (_, i) => Math.sin(i))
    await writeSafetensors(
      file,
      [
        { name: 'x', shape: [33], data },
        { name: 'i', shape: [1], data: Int32Array.of(123456789) },
      ],
      { floats: 'BF16' },
    )
    await using read = await openSafetensors(file)
    expect([...(await read.read('i')).data]).toEqual([123456789])
    // Half a unit in the last of 8 bits.
    for (const [i, value] of (await read.read('x')).data.entries())
      expect(Math.abs(value - Math.sin(i))).toBeLessThan(2 ** -8)
  })

  test('data that does not fit its shape, or a name used twice, is refused', async () => {
    using folder = temporaryFolder('safetensors')
    const file = path.join(folder.path, 'bad.safetensors')
    const x = { name: 'x', shape: [3], data: new Float32Array(3) }
    await expect(writeSafetensors(file, [{ ...x, shape: [4] }])).rejects.toThrow(code('TENSORS'))
    await expect(writeSafetensors(file, [x, x])).rejects.toThrow(code('TENSORS'))
  })
})

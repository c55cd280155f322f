import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { crc32, deflateRawSync } from 'node:zlib'
import { temporaryFolder, useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DeviceErrors } from '../errors.ts'
import { extractZipEntry, listZip } from './zip.ts'

useTestSeed()

interface Member {
  readonly name: string
  readonly data: Uint8Array
  readonly stored: boolean
}

/** A zip archive as PKWARE's APPNOTE describes it, with an extra field in the local headers that the directory lacks. */
function zip(members: readonly Member[]): Buffer {
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  let offset = 0
  for (const { name, data, stored } of members) {
    const packed = stored ? Buffer.from(data) : deflateRawSync(data)
    const common = Buffer.alloc(22)
    common.writeUInt16LE(20, 0)
    common.writeUInt16LE(stored ? 0 : 8, 4)
    common.writeUInt32LE(crc32(data), 10)
    common.writeUInt32LE(packed.length, 14)
    common.writeUInt32LE(data.length, 18)
    const nameBytes = Buffer.from(name)
    const lengths = (extra: number) => Buffer.from(new Uint16Array([nameBytes.length, extra]).buffer)
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), common, lengths(5), nameBytes, Buffer.alloc(5), packed])
    const tail = Buffer.alloc(14)
    tail.writeUInt32LE(offset, 10)
    directory.push(Buffer.from('PK\x01\x02'), Buffer.from([20, 0]), common, lengths(0), tail, nameBytes)
    parts.push(local)
    offset += local.length
  }
  const entries = Buffer.concat(directory)
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06')
  end.writeUInt16LE(members.length, 8)
  end.writeUInt16LE(members.length, 10)
  end.writeUInt32LE(entries.length, 12)
  end.writeUInt32LE(offset, 16)
  return Buffer.concat([...parts, entries, end])
}

const member = fc.record({
  name: fc.stringMatching(/^[a-z]{1,12}(\/[a-z]{1,12})?$/),
  data: fc.uint8Array(),
  stored: fc.boolean(),
})

describe('zip', () => {
  it('extracts every member of any archive byte for byte', async () => {
    using folder = temporaryFolder('zip')
    const archive = path.join(folder.path, 'a.zip')
    const target = path.join(folder.path, 'out')
    await fc.assert(
      fc.asyncProperty(fc.array(member, { maxLength: 5 }), async members => {
        fs.writeFileSync(archive, zip(members))
        const entries = listZip(archive)
        expect(entries.map(entry => entry.name)).toEqual(members.map(one => one.name))
        for (const [i, entry] of entries.entries()) {
          await extractZipEntry(archive, entry, target)
          expect(Buffer.compare(fs.readFileSync(target), Buffer.from(members[i]?.data ?? []))).toBe(0)
        }
      }),
      { numRuns: 50 },
    )
  })

  it('reports the bytes written, up to the size of the member', async () => {
    using folder = temporaryFolder('zip')
    const archive = path.join(folder.path, 'a.zip')
    fs.writeFileSync(archive, zip([{ name: 'big', data: randomBytes(3_000_000), stored: false }]))
    const [entry] = listZip(archive)
    if (entry === undefined) throw new Error('no entry')
    const seen: number[] = []
    await extractZipEntry(archive, entry, path.join(folder.path, 'out'), { onBytes: bytes => seen.push(bytes) })
    expect(seen.length).toBeGreaterThan(1)
    expect(seen).toEqual(seen.toSorted((a, b) => a - b))
    expect(seen.at(-1)).toBe(3_000_000)
  })

  it('refuses an archive that was cut short anywhere', () => {
    using folder = temporaryFolder('zip')
    const archive = path.join(folder.path, 'a.zip')
    const whole = zip([{ name: 'a', data: randomBytes(100), stored: false }])
    fc.assert(
      fc.property(fc.integer({ min: 0, max: whole.length - 1 }), bytes => {
        fs.writeFileSync(archive, whole.subarray(0, bytes))
        expect(() => listZip(archive)).toThrow(expect.objectContaining({ code: DeviceErrors.ARCHIVE_BROKEN.code }))
      }),
    )
  })

  it('refuses a member with a flipped bit', async () => {
    using folder = temporaryFolder('zip')
    const archive = path.join(folder.path, 'a.zip')
    const whole = zip([{ name: 'a', data: new Uint8Array(4096).fill(7), stored: true }])
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 36, max: 36 + 4095 }), fc.integer({ min: 0, max: 7 }), async (at, bit) => {
        const bad = Buffer.from(whole)
        bad[at] = (bad[at] ?? 0) ^ (1 << bit)
        fs.writeFileSync(archive, bad)
        const [entry] = listZip(archive)
        if (entry === undefined) throw new Error('no entry')
        const extracted = extractZipEntry(archive, entry, path.join(folder.path, 'out'))
        await expect(extracted).rejects.toMatchObject({ code: DeviceErrors.ARCHIVE_BROKEN.code })
      }),
      { numRuns: 20 },
    )
  })
})

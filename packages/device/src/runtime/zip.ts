import fs from 'node:fs'
import path from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { crc32, createInflateRaw } from 'node:zlib'
import { SkeinError } from '@skein/core'
import { DeviceErrors } from '../errors.ts'

/** A member of a zip archive, from its central directory. */
export interface ZipEntry {
  readonly name: string
  readonly method: number
  readonly crc: number
  readonly compressedBytes: number
  readonly bytes: number
  readonly headerOffset: number
}

const END_OF_DIRECTORY = 0x06054b50
const DIRECTORY_ENTRY = 0x02014b50
const LOCAL_HEADER = 0x04034b50

/** Members of a zip archive below 4 GiB (every wheel we use; ZIP64 is refused). @throws SKEIN_DEVICE_ARCHIVE_BROKEN */
export function listZip(archive: string): ZipEntry[] {
  const fd = fs.openSync(archive, 'r')
  try {
    const size = fs.fstatSync(fd).size
    const tail = readAt(fd, Math.max(0, size - 65_557), Math.min(size, 65_557))
    let end = tail.length - 22
    while (end >= 0 && tail.readUInt32LE(end) !== END_OF_DIRECTORY) end--
    if (end < 0) throw broken(archive, 'it has no end record')
    const count = tail.readUInt16LE(end + 10)
    const bytes = tail.readUInt32LE(end + 12)
    const offset = tail.readUInt32LE(end + 16)
    if (offset === 0xffffffff || count === 0xffff) throw broken(archive, 'it is a ZIP64 archive')
    if (offset + bytes > size) throw broken(archive, 'its directory lies behind its end')
    return parseDirectory(archive, readAt(fd, offset, bytes), count)
  } finally {
    fs.closeSync(fd)
  }
}

function parseDirectory(archive: string, directory: Buffer, count: number): ZipEntry[] {
  const entries: ZipEntry[] = []
  for (let at = 0; entries.length < count; ) {
    if (at + 46 > directory.length || directory.readUInt32LE(at) !== DIRECTORY_ENTRY) {
      throw broken(archive, `entry ${entries.length} of its directory is not one`)
    }
    const nameBytes = directory.readUInt16LE(at + 28)
    entries.push({
      name: directory.toString('utf8', at + 46, at + 46 + nameBytes),
      method: directory.readUInt16LE(at + 10),
      crc: directory.readUInt32LE(at + 16),
      compressedBytes: directory.readUInt32LE(at + 20),
      bytes: directory.readUInt32LE(at + 24),
      headerOffset: directory.readUInt32LE(at + 42),
    })
    at += 46 + nameBytes + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32)
  }
  return entries
}

export interface ExtractOptions {
  /** Bytes written so far of this member; called a few hundred times for the largest library. */
  readonly onBytes?: (written: number) => void
  readonly signal?: AbortSignal
}

/**
 * Inflates one member into `target` (its folder is made), checks size and CRC-32, and flushes it to disk.
 * Streams: memory stays at a few MB whatever the member's size. @throws SKEIN_DEVICE_ARCHIVE_BROKEN
 */
export async function extractZipEntry(
  archive: string,
  entry: ZipEntry,
  target: string,
  options: ExtractOptions = {},
): Promise<void> {
  if (entry.method !== 0 && entry.method !== 8) throw broken(archive, `${entry.name} uses method ${entry.method}`)
  const start = dataOffset(archive, entry)
  fs.mkdirSync(path.dirname(target), { recursive: true })
  let crc = 0
  let written = 0
  const check = new Transform({
    writableHighWaterMark: 2 << 20,
    readableHighWaterMark: 2 << 20,
    transform(chunk: Buffer, _encoding, done) {
      crc = crc32(chunk, crc)
      written += chunk.length
      options.onBytes?.(written)
      done(null, chunk)
    },
  })
  const source =
    entry.compressedBytes === 0
      ? []
      : fs.createReadStream(archive, { start, end: start + entry.compressedBytes - 1, highWaterMark: 1 << 20 })
  const sink = fs.createWriteStream(target, { highWaterMark: 2 << 20, flush: true })
  const { signal } = options
  const flow = signal === undefined ? {} : { signal }
  try {
    if (entry.method === 8) await pipeline(source, createInflateRaw({ chunkSize: 1 << 20 }), check, sink, flow)
    else await pipeline(source, check, sink, flow)
  } catch (cause) {
    if (signal?.aborted === true || isSystemError(cause)) throw cause
    throw broken(archive, `${entry.name} does not inflate`, cause)
  }
  if (written !== entry.bytes || crc !== entry.crc) throw broken(archive, `${entry.name} has another checksum`)
}

/** Where a member's data begins: its local header repeats the name and may hold another extra field than the directory. */
function dataOffset(archive: string, entry: ZipEntry): number {
  const fd = fs.openSync(archive, 'r')
  try {
    const header = readAt(fd, entry.headerOffset, 30)
    if (header.length < 30 || header.readUInt32LE(0) !== LOCAL_HEADER)
      throw broken(archive, `${entry.name} has no header`)
    return entry.headerOffset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28)
  } finally {
    fs.closeSync(fd)
  }
}

function readAt(fd: number, offset: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes)
  const got = fs.readSync(fd, buffer, 0, bytes, offset)
  return buffer.subarray(0, got)
}

/** ENOSPC and its like: the disk's failure, not the archive's. Errors of zlib have a code too, beginning with Z_. */
function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error
}

function broken(archive: string, what: string, cause?: unknown): SkeinError {
  return new SkeinError(DeviceErrors.ARCHIVE_BROKEN, {
    what: `${archive}: ${what}`,
    why: 'the download was cut short, or the archive is another than expected',
    todo: 'run `skein setup` again; it downloads afresh',
    details: { archive },
    cause,
  })
}

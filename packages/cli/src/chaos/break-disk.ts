import { execFile } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { SkeinError } from '@skein/core'
import { CliErrors } from '../errors.ts'
import type { Child } from '../launch/child.ts'

const run = promisify(execFile)

/**
 * Bounds the size of every file that a process writes (RLIMIT_FSIZE): a write beyond fails in the system itself, in the middle of a file. Only the soft
 * limit is set, which takes no right, and can be taken back. @throws SKEIN_CLI_NO_FILE_LIMIT
 */
export async function limitFiles(child: Child, maxBytes: number | undefined): Promise<void> {
  if (!child.running) return
  try {
    await run('prlimit', ['--pid', String(child.pid), `--fsize=${maxBytes ?? 'unlimited'}:`])
  } catch (cause) {
    // It has ended meanwhile.
    if (!child.running) return
    throw new SkeinError(CliErrors.NO_FILE_LIMIT, {
      what: `the size of files that ${child.name} writes cannot be limited: ${cause instanceof Error ? cause.message : String(cause)}`,
      why: 'prlimit is missing (it is part of util-linux), or this user may not use it on its own processes',
      todo: 'install util-linux, or leave faults of the kind disk out: --faults',
      cause,
    })
  }
}

/** What a copy that broke off leaves of a checkpoint, or a bad disk. Returns the file. */
export function tear(checkpoint: string, how: 'cut short' | 'altered'): string {
  const { file, bytes } = largestFile(checkpoint)
  const middle = bytes >> 1
  if (how === 'cut short') fs.truncateSync(file, middle)
  else flipBit(file, middle)
  return file
}

export function largestFile(folder: string): { readonly file: string; readonly bytes: number } {
  const files = fs.readdirSync(folder).map(name => {
    const file = path.join(folder, name)
    return { file, bytes: fs.statSync(file).size }
  })
  return files.reduce((largest, one) => (one.bytes > largest.bytes ? one : largest))
}

function flipBit(file: string, at: number): void {
  const handle = fs.openSync(file, 'r+')
  try {
    const byte = Buffer.alloc(1)
    fs.readSync(handle, byte, 0, 1, at)
    byte.writeUInt8(byte.readUInt8(0) ^ 4)
    fs.writeSync(handle, byte, 0, 1, at)
  } finally {
    fs.closeSync(handle)
  }
}

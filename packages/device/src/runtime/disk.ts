import fs from 'node:fs'
import path from 'node:path'

/** Bytes that this user may still write below `folder`; it need not exist yet. */
export function freeBytes(folder: string): number {
  let existing = path.resolve(folder)
  while (!fs.existsSync(existing)) existing = path.dirname(existing)
  const disk = fs.statfsSync(existing)
  return disk.bavail * disk.bsize
}

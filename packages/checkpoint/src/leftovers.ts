import { randomBytes } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'

/** What is being written, what it replaces until it is in place, and what goes: beside the checkpoints, each of one writer. */
export const writingPrefix = '.writing-'
export const replacedPrefix = '.replaced-'
const removedPrefix = '.removed-'

/** Whose it is, from its name; the versions before generations were named wrote -1. */
export interface LeftBehind {
  readonly generation: number
  readonly step: number
}

/** Longer than any writer takes between two files, were it stopped and woken in between. */
const untouchedMs = 24 * 60 * 60 * 1000

/**
 * Removes what writers have left behind that were killed: all that `isDead` says, and what nobody has touched for a day, such as of a former run
 * that had seen more generations. What was about to be replaced is put back where its successor is not in place. A writer whose draft goes
 * although it still lives, put out but not stopped, finds no folder when it publishes, and fails.
 */
export async function removeLeftovers(root: string, isDead: (of: LeftBehind) => boolean): Promise<void> {
  const entries = await fs.readdir(root)
  for (const entry of entries) {
    if (![writingPrefix, replacedPrefix, removedPrefix].some(prefix => entry.startsWith(prefix))) continue
    const name = /step-(\d{8,})/u.exec(entry)
    const of = { generation: Number(/-g(\d+)/u.exec(entry)?.[1] ?? -1), step: Number(name?.[1] ?? -1) }
    if (entry.startsWith(replacedPrefix) && name !== null && !entries.includes(name[0])) {
      await moved(path.join(root, entry), path.join(root, name[0]))
    } else if (entry.startsWith(removedPrefix)) {
      await fs.rm(path.join(root, entry), { recursive: true, force: true })
    } else if (isDead(of) || (await isUntouched(path.join(root, entry)))) {
      await takeAway(root, entry)
    }
  }
}

/** First out of sight, then file by file: who still writes there publishes all of it or nothing. */
export async function takeAway(root: string, entry: string): Promise<void> {
  const removed = path.join(root, `${removedPrefix}${randomBytes(4).toString('hex')}`)
  if (await moved(path.join(root, entry), removed)) await fs.rm(removed, { recursive: true, force: true })
}

/** False where there is nothing to move, or the place is taken. */
async function moved(from: string, to: string): Promise<boolean> {
  try {
    await fs.rename(from, to)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && ['ENOENT', ...takenCodes].includes(String(error.code)))
      return false
    throw error
  }
}

/** What a rename onto a folder that is not empty gives: Linux and macOS, others, Windows. */
export const takenCodes: readonly string[] = ['ENOTEMPTY', 'EEXIST', 'EPERM']

function isUntouched(entry: string): Promise<boolean> {
  return fs.stat(entry).then(
    stat => Date.now() - stat.mtimeMs > untouchedMs,
    () => false,
  )
}

import fs from 'node:fs'
import path from 'node:path'
import { SkeinError } from '@skein/core'
import { CliErrors } from './errors.ts'

const manifestName = 'manifest.json'
const stepFolder = /^step-\d+$/u

/** A finished checkpoint: one whose manifest, which is written last, is there. */
export interface FoundCheckpoint {
  readonly path: string
  readonly writtenAtMs: number
}

/** All finished checkpoints in `folder` and in the run folders below it, newest first; empty where there is no such folder. */
export function checkpointsBelow(folder: string): FoundCheckpoint[] {
  const found: FoundCheckpoint[] = []
  const look = (dir: string, depth: number) => {
    for (const entry of entriesOf(dir)) {
      if (!entry.isDirectory()) continue
      const child = path.join(dir, entry.name)
      if (stepFolder.test(entry.name)) {
        const manifest = fs.statSync(path.join(child, manifestName), { throwIfNoEntry: false })
        if (manifest !== undefined) found.push({ path: child, writtenAtMs: manifest.mtimeMs })
      } else if (depth > 0) look(child, depth - 1)
    }
  }
  look(folder, 2)
  // Steps of one run may be written within one tick of the file system's clock: then the name decides.
  return found.toSorted((a, b) => b.writtenAtMs - a.writtenAtMs || b.path.localeCompare(a.path))
}

/**
 * The checkpoint that `--resume` without a path means: the newest in the job's checkpoint folder, of this job's own runs
 * (`NAME-…`) if there are any. @throws SKEIN_CLI_NOTHING_TO_RESUME
 */
export function newestCheckpoint(folder: string, jobName: string): string {
  const all = checkpointsBelow(folder)
  const ownRuns = path.join(folder, `${jobName}-`)
  const newest = all.find(one => one.path.startsWith(ownRuns)) ?? all[0]
  if (newest !== undefined) return newest.path
  throw new SkeinError(CliErrors.NOTHING_TO_RESUME, {
    what: `--resume found no checkpoint in ${folder}`,
    why: fs.existsSync(folder) ? 'no run there has written one yet' : 'there is no such folder',
    todo: 'start without --resume, or name the checkpoint: --resume PATH',
    details: { folder },
  })
}

/**
 * The folder that a path given by a user means: itself where it is a checkpoint (also an unfinished one) or holds some, else
 * the newest checkpoint of the runs below it; undefined where there is none.
 */
export function folderOfCheckpoints(folder: string): string | undefined {
  const isCheckpointName = (name: string) => name === manifestName || stepFolder.test(name)
  if (fs.existsSync(folder) && stepFolder.test(path.basename(folder))) return folder
  if (entriesOf(folder).some(entry => isCheckpointName(entry.name))) return folder
  return checkpointsBelow(folder)[0]?.path
}

function entriesOf(dir: string): fs.Dirent[] {
  try {
    return fs.readdirSync(dir, { withFileTypes: true })
  } catch {
    return []
  }
}

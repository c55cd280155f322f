import fs from 'node:fs'
import path from 'node:path'
import { findCheckpoint, type FoundCheckpoint, isS3, type SkippedCheckpoint, wholeOrSkipped } from '@skein/checkpoint'
import { SkeinError } from '@skein/core'
import { CliErrors } from './errors.ts'
import { isRunFolderOf } from './run-folder.ts'

const manifestName = 'manifest.json'
const stepFolder = /^step-\d+$/u

/** A folder with a checkpoint, or what is left of one. */
export interface CheckpointBelow {
  readonly path: string
  readonly writtenAtMs: number
}

/** All checkpoints in `folder` and in the run folders below it, newest first, whole or not; empty where there is no such folder. */
export function checkpointsBelow(folder: string): CheckpointBelow[] {
  const found: CheckpointBelow[] = []
  const look = (dir: string, depth: number) => {
    for (const entry of entriesOf(dir)) {
      if (!entry.isDirectory()) continue
      const child = path.join(dir, entry.name)
      if (stepFolder.test(entry.name)) {
        const written = fs.statSync(path.join(child, manifestName), { throwIfNoEntry: false }) ?? fs.statSync(child)
        found.push({ path: child, writtenAtMs: written.mtimeMs })
      } else if (depth > 0) look(child, depth - 1)
    }
  }
  look(folder, 2)
  // Steps of one run may be written within one tick of the file system's clock: then the name decides.
  return found.toSorted((a, b) => b.writtenAtMs - a.writtenAtMs || b.path.localeCompare(a.path))
}

/**
 * The checkpoint that `--resume` without a path means: the newest whole one where the job keeps its checkpoints, of this job's own runs
 * (`NAME-…`) if there are any. @throws SKEIN_CLI_NOTHING_TO_RESUME
 */
export async function newestCheckpoint(
  places: { readonly to: string; readonly dir?: string },
  jobName: string,
): Promise<FoundCheckpoint> {
  const { to, dir = to } = places
  if (isS3(dir)) {
    throw nothingToResume(dir, 'runs on S3 are not searched', 'name the run: --resume s3://BUCKET/PREFIX/RUN')
  }
  const all = checkpointsBelow(dir)
  const own = all.filter(one => isRunFolderOf(jobName, path.relative(dir, one.path).split(path.sep)[0] ?? ''))
  const { found, skipped } = await firstWhole(own.length > 0 ? own : all)
  if (found !== undefined) return found
  const why = fs.existsSync(dir) ? 'no run there has written one yet' : 'there is no such folder'
  const damaged = skipped.map(({ reason }) => reason).join('; ')
  throw nothingToResume(
    dir,
    skipped.length === 0 ? why : `those there are not whole: ${damaged}`,
    'start without --resume, or name the checkpoint: --resume PATH',
    skipped,
  )
}

/**
 * The checkpoint that a path given by a user means: itself (taken as it is), or of those it holds, or else of the runs below it, the newest that
 * is whole. @throws what `findCheckpoint` does
 */
export async function findBelow(folder: string): Promise<FoundCheckpoint> {
  const holdsSome = entriesOf(folder).some(entry => isCheckpointName(entry.name))
  if (stepFolder.test(path.basename(folder)) || holdsSome) return findCheckpoint(folder)
  const { found } = await firstWhole(checkpointsBelow(folder))
  return found ?? findCheckpoint(folder)
}

async function firstWhole(
  candidates: readonly CheckpointBelow[],
): Promise<{ readonly found?: FoundCheckpoint; readonly skipped: readonly SkippedCheckpoint[] }> {
  const skipped: SkippedCheckpoint[] = []
  for (const { path: place } of candidates) {
    const looked = await wholeOrSkipped(place)
    if ('manifest' in looked) return { found: { ...looked, skipped }, skipped }
    skipped.push(looked)
  }
  return { skipped }
}

const isCheckpointName = (name: string) => name === manifestName || stepFolder.test(name)

function entriesOf(dir: string): fs.Dirent[] {
  try {
    return fs.readdirSync(dir, { withFileTypes: true })
  } catch {
    return []
  }
}

function nothingToResume(
  place: string,
  why: string,
  todo: string,
  skipped: readonly SkippedCheckpoint[] = [],
): SkeinError {
  return new SkeinError(CliErrors.NOTHING_TO_RESUME, {
    what: `--resume found no checkpoint in ${place}`,
    why,
    todo,
    details: { folder: place, skipped },
  })
}

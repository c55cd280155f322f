import fs from 'node:fs/promises'
import path from 'node:path'
import { SkeinError } from '@skein/core'
import { CheckpointErrors } from './errors.ts'
import { checkpointFolderPattern, latestFileName, manifestFileName } from './manifest.ts'

/**
 * The checkpoint folder that a path means: itself, or for a folder of checkpoints the one LATEST names (the newest whole one
 * where LATEST is missing or names one that is gone). @throws SKEIN_CHECKPOINT_NOT_FOUND, SKEIN_CHECKPOINT_NO_MANIFEST
 */
export async function findCheckpoint(given: string): Promise<string> {
  const names = await fs.readdir(given).catch(() => undefined)
  if (names === undefined) throw notFound(given, 'there is no such folder')
  if (names.includes(manifestFileName)) return given
  if (names.includes(latestFileName)) {
    const latest = (await fs.readFile(path.join(given, latestFileName), 'utf8')).trim()
    if (checkpointFolderPattern.test(latest) && (await isWhole(path.join(given, latest))))
      return path.join(given, latest)
  }
  const candidates = names
    .filter(name => checkpointFolderPattern.test(name))
    .sort((a, b) => Number(b.slice('step-'.length)) - Number(a.slice('step-'.length)))
  for (const name of candidates) {
    if (await isWhole(path.join(given, name))) return path.join(given, name)
  }
  if (candidates.length > 0 || checkpointFolderPattern.test(path.basename(path.resolve(given)))) throw noManifest(given)
  throw notFound(given, 'the folder holds no step-… folder')
}

async function isWhole(folder: string): Promise<boolean> {
  return fs.access(path.join(folder, manifestFileName)).then(
    () => true,
    () => false,
  )
}

function notFound(given: string, why: string): SkeinError {
  return new SkeinError(CheckpointErrors.NOT_FOUND, {
    what: `no checkpoint at ${given}`,
    why,
    todo: 'give a checkpoint folder (…/step-00000500) or the folder that holds them; a run prints its path when it saves',
    details: { path: given },
  })
}

export function noManifest(folder: string): SkeinError {
  return new SkeinError(CheckpointErrors.NO_MANIFEST, {
    what: `${folder} has no ${manifestFileName}`,
    why: 'the manifest is written last, so this checkpoint was never finished, or the file was removed',
    todo: 'use an older checkpoint of the run',
    details: { folder },
  })
}

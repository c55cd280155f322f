import fs from 'node:fs/promises'
import path from 'node:path'
import { SkeinError } from '@skein/core'
import { CheckpointErrors } from './errors.ts'
import { isS3, splitLocation, type StoreEnvironment } from './location.ts'
import { checkpointFolderPattern, type Manifest, manifestFileName } from './manifest.ts'
import { openStore } from './open-store.ts'
import { noManifest, readManifestOf } from './read-manifest.ts'
import type { CheckpointStore } from './store.ts'
import { verifyFile } from './verify-file.ts'

/** A checkpoint that was passed over, and why. */
export interface SkippedCheckpoint {
  readonly path: string
  readonly code: string
  readonly reason: string
}

export interface FoundCheckpoint {
  /** The checkpoint's own location. */
  readonly path: string
  readonly manifest: Manifest
  /** Newer ones that are not whole. */
  readonly skipped: readonly SkippedCheckpoint[]
}

export interface FindOptions {
  /** Needed for S3. */
  readonly environment?: StoreEnvironment
  readonly signal?: AbortSignal
}

/** A store and the name in it that a location means. */
export interface NamedCheckpoint {
  readonly store: CheckpointStore
  readonly name: string
}

/**
 * The checkpoint that a location means. A checkpoint itself is taken as it is, its files unread: who opens it checks them. Of a place with several the
 * one LATEST names or else the newest, and one whose manifest is missing or whose files differ from it in length or SHA-256 is skipped. On S3 that
 * takes one download of what is looked at.
 *
 * @throws SKEIN_CHECKPOINT_NOT_FOUND, _NO_MANIFEST, _FORMAT, _ROWS, _NONE_WHOLE, _S3
 */
export async function findCheckpoint(given: string, options: FindOptions = {}): Promise<FoundCheckpoint> {
  const itself = await checkpointItself(given, options)
  if (itself !== undefined) {
    return { path: given, manifest: await readManifestOf(itself.store, itself.name), skipped: [] }
  }
  const store = openStore(given, options.environment ?? {})
  const names = await store.names().catch((error: unknown) => {
    if (error instanceof SkeinError) throw error
    throw notFound(given, 'there is no such folder')
  })
  if (names.length === 0) throw notFound(given, 'it holds no step-…')
  const skipped: SkippedCheckpoint[] = []
  for (const name of names) {
    const looked = await lookAt({ store, name }, options.signal)
    if ('manifest' in looked) return { ...looked, skipped }
    skipped.push(looked)
  }
  throw noneWhole(given, skipped)
}

/** A checkpoint by its own location: its manifest where all its files are as that says, else why it is not to be taken. @throws _NOT_FOUND, _S3 */
export async function wholeOrSkipped(
  location: string,
  options: FindOptions = {},
): Promise<Omit<FoundCheckpoint, 'skipped'> | SkippedCheckpoint> {
  const itself = await checkpointItself(location, options)
  if (itself === undefined) throw notFound(location, 'it is no checkpoint')
  return lookAt(itself, options.signal)
}

async function lookAt(
  { store, name }: NamedCheckpoint,
  signal: AbortSignal | undefined,
): Promise<Omit<FoundCheckpoint, 'skipped'> | SkippedCheckpoint> {
  const path = store.locationOf(name)
  try {
    return { path, manifest: await wholeManifest(store, name, signal) }
  } catch (error) {
    if (!isDamage(error)) throw error
    return { path, code: error.code, reason: error.what }
  }
}

/** The checkpoint that the location itself is; undefined where it is a place with checkpoints, or nothing. */
export async function checkpointItself(given: string, options: FindOptions): Promise<NamedCheckpoint | undefined> {
  const { parent, name } = splitLocation(isS3(given) ? given : path.resolve(given))
  const isOne = checkpointFolderPattern.test(name)
    ? isS3(given) || (await isThere(given))
    : !isS3(given) && (await isThere(path.join(given, manifestFileName)))
  return isOne ? { store: openStore(parent, options.environment ?? {}), name } : undefined
}

/** The manifest of a checkpoint all of whose files are as it says. */
async function wholeManifest(store: CheckpointStore, name: string, signal?: AbortSignal): Promise<Manifest> {
  const manifest = await readManifestOf(store, name)
  for (const file of manifest.files) await verifyFile({ store, name }, file, signal && { signal })
  return manifest
}

const damages: ReadonlySet<string> = new Set(
  [
    CheckpointErrors.NO_MANIFEST,
    CheckpointErrors.FORMAT,
    CheckpointErrors.CUT_SHORT,
    CheckpointErrors.CORRUPT,
    CheckpointErrors.ROWS,
  ].map(({ code }) => code),
)

/** Whether the checkpoint is to blame, not the way to it. */
function isDamage(error: unknown): error is SkeinError {
  return error instanceof SkeinError && damages.has(error.code)
}

function isThere(file: string): Promise<boolean> {
  return fs.access(file).then(
    () => true,
    () => false,
  )
}

function notFound(given: string, why: string): SkeinError {
  return new SkeinError(CheckpointErrors.NOT_FOUND, {
    what: `no checkpoint at ${given}`,
    why,
    todo: 'give a checkpoint (…/step-00000500) or the place that holds them; a run prints its path when it saves',
    details: { path: given },
  })
}

function noneWhole(given: string, skipped: readonly SkippedCheckpoint[]): SkeinError {
  if (skipped.every(({ code }) => code === CheckpointErrors.NO_MANIFEST.code)) return noManifest(given)
  return new SkeinError(CheckpointErrors.NONE_WHOLE, {
    what: `of ${skipped.length} checkpoints in ${given} none is whole: ${skipped.map(({ reason }) => reason).join('; ')}`,
    why: 'their writers were killed, or the files were changed or cut off afterwards',
    todo: 'copy a checkpoint again from where it came, or start the run anew',
    details: { path: given, skipped },
  })
}

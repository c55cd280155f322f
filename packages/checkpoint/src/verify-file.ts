import { createHash } from 'node:crypto'
import fs from 'node:fs/promises'
import { SkeinError } from '@skein/core'
import { CheckpointErrors } from './errors.ts'
import { locationIn } from './location.ts'
import type { Manifest } from './manifest.ts'
import type { CheckpointStore } from './store.ts'

/**
 * Checks length and SHA-256 of one file of a checkpoint against its manifest; with `copyTo` it is written there while it is read.
 * @throws SKEIN_CHECKPOINT_CUT_SHORT, _CORRUPT
 */
export async function verifyFile(
  checkpoint: { readonly store: CheckpointStore; readonly name: string },
  file: Manifest['files'][number],
  options: { readonly copyTo?: string; readonly signal?: AbortSignal } = {},
): Promise<void> {
  const { store, name } = checkpoint
  const place = locationIn(store.locationOf(name), file.name)
  const bytes = await store.sizeOf(name, file.name)
  if (bytes !== file.bytes) throw cutShort(place, file.bytes, bytes)
  const hash = createHash('sha256')
  const copy = options.copyTo === undefined ? undefined : await fs.open(options.copyTo, 'w')
  try {
    for await (const piece of store.read(name, file.name, options.signal)) {
      hash.update(piece)
      await copy?.writeFile(piece)
    }
  } finally {
    await copy?.close()
  }
  const sha256 = hash.digest('hex')
  if (sha256 === file.sha256) return
  throw new SkeinError(CheckpointErrors.CORRUPT, {
    what: `${place} has SHA-256 ${sha256.slice(0, 12)}…, its manifest says ${file.sha256.slice(0, 12)}…`,
    why: 'bytes of the file changed after it was written: a failing disk, a bad copy, or an edit',
    todo: 'use an older checkpoint, or copy this one again from where it came',
    details: { file: place, sha256, expected: file.sha256 },
  })
}

function cutShort(place: string, expected: number, bytes: number | undefined): SkeinError {
  return new SkeinError(CheckpointErrors.CUT_SHORT, {
    what: bytes === undefined ? `${place} is missing` : `${place} has ${bytes} B, its manifest says ${expected} B`,
    why: 'a copy of the checkpoint was cut off, or a file was removed',
    todo: 'use an older checkpoint, or copy this one again from where it came',
    details: { file: place, bytes, expected },
  })
}

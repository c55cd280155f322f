import { SkeinError } from '@skein/core'
import { z } from 'zod'
import { CheckpointErrors } from './errors.ts'
import { locationIn } from './location.ts'
import { type Manifest, manifestFileName, manifestFormat, manifestSchema } from './manifest.ts'
import { assertAllRows } from './rows.ts'
import type { CheckpointStore } from './store.ts'

/** The manifest of a checkpoint, checked; its files are not looked at. @throws SKEIN_CHECKPOINT_NO_MANIFEST, _FORMAT, _ROWS */
export async function readManifestOf(store: CheckpointStore, name: string): Promise<Manifest> {
  const place = store.locationOf(name)
  const file = locationIn(place, manifestFileName)
  if ((await store.sizeOf(name, manifestFileName)) === undefined) throw noManifest(place)
  const pieces: Uint8Array[] = []
  for await (const piece of store.read(name, manifestFileName)) pieces.push(piece)
  let value: unknown
  try {
    value = JSON.parse(Buffer.concat(pieces).toString('utf8'))
  } catch (cause) {
    throw badFormat(file, `is not JSON (${cause instanceof Error ? cause.message : String(cause)})`)
  }
  const format = (value as { readonly format?: unknown } | null)?.format
  if (format !== manifestFormat) {
    throw badFormat(
      file,
      `is of format ${JSON.stringify(format)}, this version of Skein reads format ${manifestFormat}`,
    )
  }
  const parsed = manifestSchema.safeParse(value)
  if (!parsed.success)
    throw badFormat(file, `is not a manifest: ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`)
  assertAllRows(parsed.data.files, place)
  return parsed.data
}

export function noManifest(place: string): SkeinError {
  return new SkeinError(CheckpointErrors.NO_MANIFEST, {
    what: `${place} has no ${manifestFileName}`,
    why: 'the manifest is written last, so this checkpoint was never finished, or the file was removed',
    todo: 'use an older checkpoint of the run',
    details: { folder: place },
  })
}

function badFormat(file: string, what: string): SkeinError {
  return new SkeinError(CheckpointErrors.FORMAT, {
    what: `${file} ${what}`,
    why: 'it was written by another version of Skein, or is damaged',
    todo: 'use the version of Skein that wrote it, or another checkpoint',
    details: { file },
  })
}

import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { checkpointItself, findCheckpoint, type FindOptions, type NamedCheckpoint } from './find-checkpoint.ts'
import { splitLocation } from './location.ts'
import { type Manifest, modelStem, momentPrefixes, optimizerStem } from './manifest.ts'
import { openStore } from './open-store.ts'
import { readManifestOf } from './read-manifest.ts'
import { isShardOf } from './shards.ts'
import { openStored } from './stored-tensors.ts'
import type { NamedTensor } from './tensor.ts'
import { verifyFile } from './verify-file.ts'

/** A checkpoint whose files are whole. Dispose it: what was fetched from afar lies in a temporary folder until then. */
export interface Checkpoint extends AsyncDisposable {
  /** The checkpoint's own location. */
  readonly path: string
  readonly manifest: Manifest
  /** All parameters, whole, in fresh buffers. @throws SKEIN_CHECKPOINT_ROWS */
  readParameters(): Promise<readonly NamedTensor[]>
  /** Fills the caller's parameters, found by name: whole ones, or `rows` of one, however they are stored. @throws SKEIN_CHECKPOINT_TENSORS, _ROWS */
  readParametersInto(tensors: readonly NamedTensor[]): Promise<void>
  /** Fills the caller's AdamW moments; each list has the names of the parameters. @throws as `readParametersInto` */
  readMomentsInto(expAvg: readonly NamedTensor[], expAvgSq: readonly NamedTensor[]): Promise<void>
}

/**
 * Opens the checkpoint that `given` means (see `findCheckpoint`), after checking length and SHA-256 of its files.
 *
 * @throws SKEIN_CHECKPOINT_NOT_FOUND, _NO_MANIFEST, _FORMAT, _ROWS, _CUT_SHORT, _CORRUPT, _NONE_WHOLE, _S3
 */
export async function openCheckpoint(given: string, options: FindOptions = {}): Promise<Checkpoint> {
  const named = (await checkpointItself(given, options)) ?? (await newestOf(given, options))
  const { store, name } = named
  const manifest = await readManifestOf(store, name)
  const inPlace = store.folderOf(name)
  const folder = inPlace ?? (await fs.mkdtemp(path.join(os.tmpdir(), 'skein-checkpoint-')))
  const dispose = async () => {
    if (inPlace === undefined) await fs.rm(folder, { recursive: true, force: true })
  }
  try {
    for (const file of manifest.files) {
      await verifyFile(named, file, {
        ...(inPlace === undefined ? { copyTo: path.join(folder, file.name) } : {}),
        ...(options.signal && { signal: options.signal }),
      })
    }
  } catch (error) {
    await dispose()
    throw error
  }
  const stored = (stem: string) =>
    openStored(
      manifest.files
        .filter(file => isShardOf(stem, file.name))
        .map(file => ({ ...file, name: path.join(folder, file.name) })),
    )
  return {
    path: store.locationOf(name),
    manifest,
    async readParameters() {
      await using files = await stored(modelStem)
      const tensors: NamedTensor[] = []
      for (const name of files.names()) tensors.push(await files.read(name))
      return tensors
    },
    async readParametersInto(tensors) {
      await using files = await stored(modelStem)
      for (const tensor of tensors) await files.readInto(tensor)
    },
    async readMomentsInto(expAvg, expAvgSq) {
      await using files = await stored(optimizerStem)
      for (const tensor of expAvg) await files.readInto(tensor, `${momentPrefixes.expAvg}${tensor.name}`)
      for (const tensor of expAvgSq) await files.readInto(tensor, `${momentPrefixes.expAvgSq}${tensor.name}`)
    },
    [Symbol.asyncDispose]: dispose,
  }
}

async function newestOf(given: string, options: FindOptions): Promise<NamedCheckpoint> {
  const { path: found } = await findCheckpoint(given, options)
  const { parent, name } = splitLocation(found)
  return { store: openStore(parent, options.environment ?? {}), name }
}

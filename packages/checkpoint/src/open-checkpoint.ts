import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { checkpointItself, findCheckpoint, type FindOptions, type NamedCheckpoint } from './find-checkpoint.ts'
import { splitLocation } from './location.ts'
import { type Manifest, modelStem, momentPrefixes, optimizerStem } from './manifest.ts'
import { openStore } from './open-store.ts'
import { openSafetensors, type SafetensorsFile } from './read-safetensors.ts'
import { readManifestOf } from './read-manifest.ts'
import { isShardOf } from './shards.ts'
import type { NamedTensor } from './tensor.ts'
import { verifyFile } from './verify-file.ts'

/** A checkpoint whose files are whole. Dispose it: what was fetched from afar lies in a temporary folder until then. */
export interface Checkpoint extends AsyncDisposable {
  /** The checkpoint's own location. */
  readonly path: string
  readonly manifest: Manifest
  /** All parameters, in fresh buffers. */
  readParameters(): Promise<readonly NamedTensor[]>
  /** Fills the caller's parameters, found by name. @throws SKEIN_CHECKPOINT_TENSORS */
  readParametersInto(tensors: readonly NamedTensor[]): Promise<void>
  /** Fills the caller's AdamW moments; each list has the names of the parameters. @throws SKEIN_CHECKPOINT_TENSORS */
  readMomentsInto(expAvg: readonly NamedTensor[], expAvgSq: readonly NamedTensor[]): Promise<void>
}

/**
 * Opens the checkpoint that `given` means (see `findCheckpoint`), after checking length and SHA-256 of its files.
 *
 * @throws SKEIN_CHECKPOINT_NOT_FOUND, _NO_MANIFEST, _FORMAT, _CUT_SHORT, _CORRUPT, _NONE_WHOLE, _S3
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
  const filesOf = (stem: string) =>
    manifest.files.filter(file => isShardOf(stem, file.name)).map(file => path.join(folder, file.name))
  return {
    path: store.locationOf(name),
    manifest,
    async readParameters() {
      const tensors: NamedTensor[] = []
      for (const shard of filesOf(modelStem)) {
        await using file = await openSafetensors(shard)
        for (const stored of file.header.tensors.keys()) tensors.push(await file.read(stored))
      }
      return tensors
    },
    readParametersInto: tensors => fillFrom(filesOf(modelStem), [['', tensors]]),
    readMomentsInto: (expAvg, expAvgSq) =>
      fillFrom(filesOf(optimizerStem), [
        [momentPrefixes.expAvg, expAvg],
        [momentPrefixes.expAvgSq, expAvgSq],
      ]),
    [Symbol.asyncDispose]: dispose,
  }
}

async function newestOf(given: string, options: FindOptions): Promise<NamedCheckpoint> {
  const { path: found } = await findCheckpoint(given, options)
  const { parent, name } = splitLocation(found)
  return { store: openStore(parent, options.environment ?? {}), name }
}

/** Reads each wanted tensor from the shard that has it. */
async function fillFrom(
  shards: readonly string[],
  lists: readonly (readonly [prefix: string, tensors: readonly NamedTensor[]])[],
): Promise<void> {
  const files: SafetensorsFile[] = []
  try {
    for (const shard of shards) files.push(await openSafetensors(shard))
    for (const [prefix, tensors] of lists) {
      for (const tensor of tensors) {
        const stored = `${prefix}${tensor.name}`
        // Where none has it, the last one says so.
        const file = files.find(one => one.header.tensors.has(stored)) ?? files.at(-1)
        await file?.readInto(tensor, stored)
      }
    }
  } finally {
    for (const file of files) await file.close()
  }
}

import { combinedDigest, SkeinError } from '@skein/core'
import { asWrite } from './as-write.ts'
import { CheckpointErrors } from './errors.ts'
import {
  checkpointFolderName,
  type Manifest,
  manifestFormat,
  manifestSchema,
  modelStem,
  optimizerStem,
} from './manifest.ts'
import { openStore } from './open-store.ts'
import { tidied } from './remove-old.ts'
import { assertAllRows } from './rows.ts'
import type { CheckpointContents, SavedCheckpoint, SaveOptions } from './save-checkpoint.ts'
import { type PartOfCheckpoint, partStem } from './shards.ts'
import type { SharedDraft } from './store.ts'
import { writeShards } from './write-shards.ts'

/*
 * The checkpoint of a model that is cut: each part writes its own tensors and, last, what a manifest would say of them; when all have, one of them
 * makes the manifest of all parts out of that. Until then there is no checkpoint. All see the same place: a shared folder, or S3.
 */

const partsFileName = (of: PartOfCheckpoint) => `${partStem('manifest', of)}.json`

/**
 * Writes one part. Whatever fails, what it wrote is taken away. One writer a part; in each generation the files have other names.
 * @throws SKEIN_CHECKPOINT_WRITE
 */
export async function savePart(
  root: string,
  contents: Omit<CheckpointContents, 'parts'>,
  place: Omit<PartOfCheckpoint, 'generation'>,
  options: Omit<SaveOptions, 'keep'> = {},
): Promise<void> {
  const { parameters: _parameters, expAvg: _expAvg, expAvgSq: _expAvgSq, ...facts } = contents
  const name = checkpointFolderName(contents.step)
  const of = { ...place, generation: contents.generation }
  await asWrite({ root, name, signal: options.signal }, async () => {
    const draft = await openStore(root, options.environment ?? {}).join(name, contents.generation)
    const written: string[] = []
    const writes: Pick<SharedDraft, 'write'> = {
      write(file, parts, signal) {
        written.push(file)
        return draft.write(file, parts, signal)
      },
    }
    try {
      const stems = { modelStem: partStem(modelStem, of), optimizerStem: partStem(optimizerStem, of) }
      const files = await writeShards(writes, contents, stems, options)
      const manifest: Manifest = { format: manifestFormat, ...facts, parts: place.parts, files }
      await writes.write(partsFileName(of), [Buffer.from(JSON.stringify(manifest))], options.signal)
    } catch (error) {
      await draft.remove(written)
      throw error
    }
  })
}

/** Which checkpoint: of which step, begun in which generation. */
export interface PartsToPublish extends Omit<PartOfCheckpoint, 'part'> {
  readonly step: number
}

/**
 * Makes the checkpoint of parts that all are on disk; then those beyond `keep` are removed. It is either whole or not there, as with
 * `saveCheckpoint`. @throws SKEIN_CHECKPOINT_WRITE, _PART_MISSING, _ROWS
 */
export async function publishParts(
  root: string,
  { step, parts, generation }: PartsToPublish,
  options: SaveOptions = {},
): Promise<SavedCheckpoint> {
  const name = checkpointFolderName(step)
  return asWrite({ root, name, signal: options.signal }, async () => {
    const store = openStore(root, options.environment ?? {})
    const draft = await store.join(name, generation)
    try {
      const manifests: Manifest[] = []
      for (let part = 0; part < parts; part++)
        manifests.push(await manifestOfPart(root, draft, { part, parts, generation }))
      const files = manifests.flatMap(manifest => manifest.files)
      assertAllRows(files, store.locationOf(name))
      const digest = combinedDigest(manifests.map(manifest => manifest.digest))
      const text = Buffer.from(`${JSON.stringify({ ...manifests[0], digest, files }, null, 2)}\n`)
      await draft.publish(
        text,
        files.map(file => file.name),
      )
      const path = store.locationOf(name)
      const bytes = files.reduce((bytes, file) => bytes + file.bytes, text.length)
      return { path, bytes, ...(await tidied(store, draft, { name, generation }, options.keep)) }
    } catch (error) {
      await draft.discard()
      throw error
    }
  })
}

/** One of the parts will not come: what the others have written goes, not what those of a newer generation write. */
export async function discardParts(
  root: string,
  { step, generation }: Pick<PartsToPublish, 'step' | 'generation'>,
  options: Pick<SaveOptions, 'environment'> = {},
): Promise<void> {
  const draft = await openStore(root, options.environment ?? {}).join(checkpointFolderName(step), generation)
  await draft.discard()
}

/** What a part says that it has written; its files are there. */
async function manifestOfPart(root: string, draft: SharedDraft, of: PartOfCheckpoint): Promise<Manifest> {
  const file = partsFileName(of)
  if ((await draft.sizeOf(file)) === undefined) throw partMissing(root, of, file)
  const manifest = manifestSchema.parse(JSON.parse(Buffer.from(await draft.read(file)).toString('utf8')))
  for (const { name, bytes } of manifest.files)
    if ((await draft.sizeOf(name)) !== bytes) throw partMissing(root, of, name)
  return manifest
}

const partMissing = (root: string, { part, parts }: PartOfCheckpoint, file: string): SkeinError =>
  new SkeinError(CheckpointErrors.PART_MISSING, {
    what: `part ${part} of ${parts} has written ${file}, but it is not to be seen in ${root} here`,
    why: 'the workers of a replica write to folders of their own machines, which are not the same place',
    todo: 'give a place that all of them share: checkpoint.dir as a folder on a shared disk, or s3://BUCKET/PREFIX',
    details: { root, part, parts, file },
  })

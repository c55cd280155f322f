import { asWrite } from './as-write.ts'
import { checkpointFolderName, type Manifest, manifestFormat, modelStem, optimizerStem } from './manifest.ts'
import type { StoreEnvironment } from './location.ts'
import { openStore } from './open-store.ts'
import { tidied } from './remove-old.ts'
import { assertAllRows } from './rows.ts'
import { writeShards } from './write-shards.ts'
import type { NamedTensor } from './tensor.ts'

/** Everything a run needs to go on, and what it was. Tensors are borrowed until `saveCheckpoint` settles. */
export interface CheckpointContents extends Omit<Manifest, 'format' | 'files'> {
  readonly parameters: readonly NamedTensor[]
  /** AdamW's first moments, one for each parameter and under its name. */
  readonly expAvg: readonly NamedTensor[]
  /** AdamW's second moments. */
  readonly expAvgSq: readonly NamedTensor[]
}

export interface SaveOptions {
  /** Checkpoints to keep in the store, this one included; the oldest go. 0 keeps all. Default 0. */
  readonly keep?: number
  /** Tensor bytes of one file, see `shardsOf`. Default 256 MiB. */
  readonly shardBytes?: number
  /** Needed for S3. */
  readonly environment?: StoreEnvironment
  readonly signal?: AbortSignal
}

export interface SavedCheckpoint {
  /** The checkpoint's own location. */
  readonly path: string
  readonly bytes: number
  /** Why something that should have gone is still there. The checkpoint itself is whole, and the next one tries again. */
  readonly notTidied?: string
}

/**
 * Writes `step-00000500` below `root` (a folder, or `s3://…`) so that it is either whole or not there: shards first, the manifest last, each durable before
 * the next. Then checkpoints beyond `keep` are removed. Whatever fails, what was written is taken away and older checkpoints stay as they
 * were. What cannot be removed once it is there is told in `notTidied`. One writer a root and generation. @throws SKEIN_CHECKPOINT_WRITE, _ROWS
 */
export async function saveCheckpoint(
  root: string,
  contents: CheckpointContents,
  options: SaveOptions = {},
): Promise<SavedCheckpoint> {
  const { parameters: _parameters, expAvg: _expAvg, expAvgSq: _expAvgSq, ...facts } = contents
  const name = checkpointFolderName(contents.step)
  return asWrite({ root, name, signal: options.signal }, async () => {
    const store = openStore(root, options.environment ?? {})
    const draft = await store.begin(name, contents.generation)
    try {
      const stems = { modelStem: `${modelStem}${draft.suffix}`, optimizerStem: `${optimizerStem}${draft.suffix}` }
      const files = await writeShards(draft, contents, stems, options)
      assertAllRows(files, store.locationOf(name))
      const manifest: Manifest = { format: manifestFormat, ...facts, files }
      const text = Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`)
      await draft.publish(text)
      const path = store.locationOf(name)
      const bytes = files.reduce((bytes, file) => bytes + file.bytes, text.length)
      return { path, bytes, ...(await tidied(store, draft, { name, generation: contents.generation }, options.keep)) }
    } catch (error) {
      await draft.discard()
      throw error
    }
  })
}

import { SkeinError } from '@skein/core'
import { CheckpointErrors } from './errors.ts'
import {
  byStepDescending,
  checkpointFolderName,
  type Manifest,
  manifestFormat,
  modelStem,
  momentPrefixes,
  optimizerStem,
} from './manifest.ts'
import type { StoreEnvironment } from './location.ts'
import { openStore } from './open-store.ts'
import { defaultShardBytes, shardsOf } from './shards.ts'
import type { CheckpointStore } from './store.ts'
import type { NamedTensor } from './tensor.ts'
import { safetensorsParts } from './write-safetensors.ts'

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
}

/**
 * Writes `step-00000500` below `root` (a folder, or `s3://…`) so that it is either whole or not there: shards first, the manifest last, each durable before
 * the next. Then checkpoints beyond `keep` are removed. Whatever fails, what was written is taken away and older checkpoints stay as they
 * were. One writer a root. @throws SKEIN_CHECKPOINT_WRITE
 */
export async function saveCheckpoint(
  root: string,
  contents: CheckpointContents,
  options: SaveOptions = {},
): Promise<SavedCheckpoint> {
  const { parameters, expAvg, expAvgSq, ...facts } = contents
  const { signal, keep = 0, shardBytes = defaultShardBytes } = options
  const name = checkpointFolderName(contents.step)
  const prefixed = (prefix: string, tensors: readonly NamedTensor[]) =>
    tensors.map(tensor => ({ ...tensor, name: `${prefix}${tensor.name}` }))
  const moments = [...prefixed(momentPrefixes.expAvg, expAvg), ...prefixed(momentPrefixes.expAvgSq, expAvgSq)]
  const shards = [...shardsOf(modelStem, parameters, shardBytes), ...shardsOf(optimizerStem, moments, shardBytes)]
  const metadata = { format: 'pt', step: String(contents.step) }
  try {
    const store = openStore(root, options.environment ?? {})
    const draft = await store.begin(name)
    const files: Manifest['files'] = []
    try {
      for (const shard of shards) {
        const written = await draft.write(shard.name, safetensorsParts(shard.tensors, { metadata }), signal)
        files.push({ name: shard.name, ...written })
      }
      const manifest: Manifest = { format: manifestFormat, ...facts, files }
      const text = Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`)
      await draft.publish(text)
      await removeOld(store, name, keep)
      return { path: store.locationOf(name), bytes: files.reduce((bytes, file) => bytes + file.bytes, text.length) }
    } catch (error) {
      await draft.discard()
      throw error
    }
  } catch (cause) {
    if (signal?.aborted === true) throw cause
    if (cause instanceof SkeinError && cause.code !== CheckpointErrors.S3.code) throw cause
    throw writeError(root, name, cause)
  }
}

async function removeOld(store: CheckpointStore, newest: string, keep: number): Promise<void> {
  if (keep <= 0) return
  const others = (await store.names()).filter(name => name !== newest).sort(byStepDescending)
  for (const name of others.slice(keep - 1).reverse()) await store.remove(name)
}

function writeError(root: string, name: string, cause: unknown): SkeinError {
  const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  const known: Readonly<Record<string, string>> = {
    ENOSPC: 'the disk is full',
    EDQUOT: 'the quota of this user is used up',
    EFBIG: 'the file would be larger than the limit of this process (ulimit -f) or of the file system',
    EACCES: 'the folder is not writable for this user',
    EROFS: 'the file system is read-only',
    ENOTDIR: 'a part of the path is a file',
  }
  const why = cause instanceof SkeinError ? cause.why : known[errno]
  const said = cause instanceof SkeinError ? cause.what : cause instanceof Error ? cause.message : String(cause)
  return new SkeinError(CheckpointErrors.WRITE, {
    what: `the checkpoint ${name} could not be written to ${root}: ${said}`,
    ...(why === undefined ? {} : { why }),
    todo: 'free space or give another place (checkpoint.to, checkpoint.dir); older checkpoints are untouched',
    details: { root, name, errno },
    cause,
  })
}

import { type Manifest, momentPrefixes } from './manifest.ts'
import type { CheckpointContents } from './save-checkpoint.ts'
import { defaultShardBytes, shardsOf } from './shards.ts'
import { rowsOf } from './rows.ts'
import type { CheckpointDraft } from './store.ts'
import type { NamedTensor } from './tensor.ts'
import { safetensorsParts } from './write-safetensors.ts'

/** Writes parameters and moments in shards of these stems, each durable before the next; what a manifest says of them. */
export async function writeShards(
  draft: Pick<CheckpointDraft, 'write'>,
  contents: Pick<CheckpointContents, 'step' | 'parameters' | 'expAvg' | 'expAvgSq'>,
  { modelStem, optimizerStem }: { readonly modelStem: string; readonly optimizerStem: string },
  { shardBytes = defaultShardBytes, signal }: { readonly shardBytes?: number; readonly signal?: AbortSignal },
): Promise<Manifest['files']> {
  const { parameters, expAvg, expAvgSq } = contents
  const prefixed = (prefix: string, tensors: readonly NamedTensor[]) =>
    tensors.map(tensor => ({ ...tensor, name: `${prefix}${tensor.name}` }))
  const moments = [...prefixed(momentPrefixes.expAvg, expAvg), ...prefixed(momentPrefixes.expAvgSq, expAvgSq)]
  const shards = [...shardsOf(modelStem, parameters, shardBytes), ...shardsOf(optimizerStem, moments, shardBytes)]
  const metadata = { format: 'pt', step: String(contents.step) }
  const files: Manifest['files'] = []
  for (const shard of shards) {
    const written = await draft.write(shard.name, safetensorsParts(shard.tensors, { metadata }), signal)
    files.push({ name: shard.name, ...written, ...rowsOf(shard.tensors) })
  }
  return files
}

import { randomBytes } from 'node:crypto'
import type { NamedTensor } from './tensor.ts'

/** Bytes of one shard where a job says nothing. */
export const defaultShardBytes = 256 * 1024 * 1024

/**
 * Tensors in their order, in as few files of at most `shardBytes` of data as that order allows. A tensor is never cut: one that is larger has a
 * file of its own. Names are those of Hugging Face: `model.safetensors`, or `model-00001-of-00003.safetensors`.
 */
export function shardsOf(
  stem: string,
  tensors: readonly NamedTensor[],
  shardBytes: number,
): readonly { readonly name: string; readonly tensors: readonly NamedTensor[] }[] {
  const shards: NamedTensor[][] = [[]]
  let bytes = 0
  for (const tensor of tensors) {
    const last = shards.at(-1) as NamedTensor[]
    if (last.length > 0 && bytes + tensor.data.byteLength > shardBytes) {
      shards.push([tensor])
      bytes = tensor.data.byteLength
    } else {
      last.push(tensor)
      bytes += tensor.data.byteLength
    }
  }
  const five = (number: number) => String(number).padStart(5, '0')
  const nameOf = (i: number) =>
    shards.length === 1 ? `${stem}.safetensors` : `${stem}-${five(i + 1)}-of-${five(shards.length)}.safetensors`
  return shards.map((shard, i) => ({ name: nameOf(i), tensors: shard }))
}

/** The stem of the shards that a part of a model writes. Each generation has its own: a writer that was given up touches no file of another. */
export const partStem = (stem: string, { part, parts, generation }: PartOfCheckpoint): string =>
  `${stem}-part-${part + 1}-of-${parts}-g${generation}`

/** Which part of which attempt at a checkpoint. */
export interface PartOfCheckpoint {
  /** From 0. */
  readonly part: number
  readonly parts: number
  readonly generation: number
}

/** Whether a file is one that a part has written, in this generation or before. */
export function isOfPartUpTo(generation: number, file: string): boolean {
  const of = /-part-\d+-of-\d+-g(\d+)[-.]/u.exec(file)?.[1]
  return of !== undefined && Number(of) <= generation
}

/** What stems end with where several writers of whole models write to one place: of one attempt alone. */
export const writerSuffix = (): string => `-w${randomBytes(4).toString('hex')}`

/** Whether a file of a checkpoint is a shard of `stem`, of the whole model or of a part. */
export function isShardOf(stem: string, file: string): boolean {
  return new RegExp(`^${stem}(-part-\\d+-of-\\d+-g\\d+|-w[0-9a-f]{8})?(-\\d+-of-\\d+)?\\.safetensors$`, 'u').test(file)
}

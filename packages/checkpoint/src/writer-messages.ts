import type { ErrorRecord } from '@skein/core'
import type { PartsToPublish } from './save-parts.ts'
import type { PartOfCheckpoint } from './shards.ts'
import type { TensorRows } from './tensor.ts'
import type { CheckpointContents, SavedCheckpoint, SaveOptions } from './save-checkpoint.ts'

/** What the writer thread is started with. */
export interface WriterOptions extends Omit<SaveOptions, 'signal'> {
  /** A folder, or `s3://…`, that gets `step-…`. */
  readonly root: string
}

/** A tensor's place in each of the three parts of a snapshot's buffer. */
export interface SnapshotTensor {
  readonly name: string
  readonly shape: readonly number[]
  /** In elements from the beginning of the part. */
  readonly offset: number
  readonly elems: number
  /** Absent: it is whole. */
  readonly rows?: TensorRows
}

/** What a checkpoint says beside its tensors. */
export type SnapshotFacts = Omit<CheckpointContents, 'parameters' | 'expAvg' | 'expAvgSq'>

/** The state of one step: float32 [3 × totalElems] in shared memory, parameters, then first and second moments. */
export interface Snapshot {
  readonly buffer: SharedArrayBuffer
  readonly totalElems: number
  readonly tensors: readonly SnapshotTensor[]
  readonly facts: SnapshotFacts
}

/** A checkpoint, or the part of one that is then published, or discarded, by one writer for all. */
export type ToWriter = { readonly id: number } & (
  | { readonly snapshot: Snapshot; readonly place?: Omit<PartOfCheckpoint, 'generation'> }
  | { readonly publish: PartsToPublish }
  | { readonly discard: Pick<PartsToPublish, 'step' | 'generation'> }
)

export type FromWriter =
  | { readonly id: number; readonly saved: SavedCheckpoint | undefined }
  | { readonly id: number; readonly error: ErrorRecord }

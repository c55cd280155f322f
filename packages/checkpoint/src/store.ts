import type { WrittenFile } from './write-safetensors.ts'

/**
 * Where the checkpoints of one run are kept. A checkpoint is a name with files below it, and is there from the moment its
 * manifest is: whatever was written before counts for nothing. One writer a store.
 *
 * Errors are those of the medium (with `code`, as Node gives them); callers say what they mean for a checkpoint.
 */
export interface CheckpointStore {
  /** As a user writes it. */
  readonly location: string
  /** The location of one checkpoint, to show and to open again. */
  locationOf(name: string): string
  /** The folder of a checkpoint where its files can be read in place; undefined where they must be fetched. */
  folderOf(name: string): string | undefined
  /** Everything named `step-…`, unfinished ones too: the one said to be the latest first, then by step, the highest first. */
  names(): Promise<readonly string[]>
  /** Undefined where there is no such file. */
  sizeOf(name: string, file: string): Promise<number | undefined>
  read(name: string, file: string, signal?: AbortSignal): AsyncIterable<Uint8Array>
  /** A place for the files of `name`. What a writer that died has left behind goes. */
  begin(name: string): Promise<CheckpointDraft>
  /** The manifest goes first, so that what is left of a removal that was cut off is no checkpoint. */
  remove(name: string): Promise<void>
}

/** A checkpoint that is being written. */
export interface CheckpointDraft {
  /** Durable when it settles. Borrows the parts until then. */
  write(file: string, parts: Iterable<Uint8Array>, signal?: AbortSignal): Promise<WrittenFile>
  /** Writes the manifest, and the checkpoint is there. */
  publish(manifest: Uint8Array): Promise<void>
  /** Removes what was written; never rejects. */
  discard(): Promise<void>
}

import type { WrittenFile } from './write-safetensors.ts'

/**
 * Where the checkpoints of one run are kept. A checkpoint is a name with files below it, and is there from the moment its
 * manifest is: whatever was written before counts for nothing. One writer a store, but for a checkpoint that several join in.
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
  /** The same for several writers at once: what is there stays, until one of them publishes. */
  join(name: string): Promise<SharedDraft>
  /** The manifest goes first, so that what is left of a removal that was cut off is no checkpoint. */
  remove(name: string): Promise<void>
}

/** A checkpoint that several write; a file has one writer. */
export interface SharedDraft extends Pick<CheckpointDraft, 'write'> {
  /** Undefined where there is no such file. */
  sizeOf(file: string): Promise<number | undefined>
  read(file: string): Promise<Uint8Array>
  /** Removes files of one's own; never rejects. */
  remove(files: readonly string[]): Promise<void>
  /** Writes the manifest, and the checkpoint of these files is there; others that were written for it go. */
  publish(manifest: Uint8Array, files: readonly string[]): Promise<void>
  /** Removes what all have written; never rejects. */
  discard(): Promise<void>
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

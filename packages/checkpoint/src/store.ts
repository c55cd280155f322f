import type { WrittenFile } from './write-safetensors.ts'

/**
 * Where the checkpoints of one run are kept. A checkpoint is a name with files below it, and is there from the moment its
 * manifest is: whatever was written before counts for nothing. One writer a store and generation, but for a checkpoint that several join in.
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
  /**
   * A place for the files of `name`, of this writer alone: one of an older generation that was put out but still writes is in nobody's way. What
   * it or one that died has left behind goes.
   */
  begin(name: string, generation: number): Promise<CheckpointDraft>
  /** The same for several writers at once, those of one generation: what is there stays, until one of them publishes. */
  join(name: string, generation: number): Promise<SharedDraft>
  /** The manifest goes first, so that what is left of a removal that was cut off is no checkpoint. */
  remove(name: string): Promise<void>
}

/** A checkpoint that several write; a file has one writer. */
export interface SharedDraft extends Pick<CheckpointDraft, 'write' | 'tidy'> {
  /** Undefined where there is no such file. */
  sizeOf(file: string): Promise<number | undefined>
  read(file: string): Promise<Uint8Array>
  /** Removes files of one's own; never rejects. */
  remove(files: readonly string[]): Promise<void>
  /** Writes the manifest, and the checkpoint of these files is there. */
  publish(manifest: Uint8Array, files: readonly string[]): Promise<void>
  /** Removes what all of this generation have written, and of older ones, but no file of a checkpoint that is there; never rejects. */
  discard(): Promise<void>
}

/** A checkpoint that is being written. */
export interface CheckpointDraft {
  /** What the stems of its files end with, where those of other writers lie at the same place. */
  readonly suffix: string
  /** Durable when it settles. Borrows the parts until then. */
  write(file: string, parts: Iterable<Uint8Array>, signal?: AbortSignal): Promise<WrittenFile>
  /** Writes the manifest, and the checkpoint is there. */
  publish(manifest: Uint8Array): Promise<void>
  /** After `publish`: removes what is of no use any more. Where that fails, the checkpoint is there all the same. */
  tidy(): Promise<void>
  /** Removes what was written, unless it has become the checkpoint after all; never rejects. */
  discard(): Promise<void>
}

/**
 * Checkpoints: safetensors and a manifest with hashes, written atomically, checked when opened. And the Hugging Face format.
 *
 * @example
 * const { path } = await saveCheckpoint('./runs/a/checkpoints', contents, { keep: 3 })
 * const checkpoint = await openCheckpoint('./runs/a/checkpoints') // the latest
 * await checkpoint.readParametersInto(viewsOfMyFlatBuffer)
 */
export { byteCharacters, byteTokenizerFiles } from './byte-level-files.ts'
export { CheckpointWriter, type Snapshot, snapshotBytes, type WriterOptions } from './checkpoint-writer.ts'
export { CheckpointErrors } from './errors.ts'
export {
  findCheckpoint,
  type FindOptions,
  type FoundCheckpoint,
  type SkippedCheckpoint,
  wholeOrSkipped,
} from './find-checkpoint.ts'
export { type Gpt2Sizes, gpt2Shapes } from './gpt2-names.ts'
export { exportHuggingFace, type Gpt2Weights, importHuggingFace } from './hugging-face.ts'
export { isS3, locationIn, resolveLocation, splitLocation, type StoreEnvironment } from './location.ts'
export { checkpointFolderName, type Manifest, manifestFormat } from './manifest.ts'
export { type Checkpoint, openCheckpoint } from './open-checkpoint.ts'
export { openStore } from './open-store.ts'
export { openSafetensors, type SafetensorsFile } from './read-safetensors.ts'
export { type SafetensorsDtype, type SafetensorsHeader, type TensorEntry } from './safetensors-header.ts'
export { assertSameModel, type Difference, jsonDifferences } from './same-model.ts'
export { type CheckpointContents, type SavedCheckpoint, type SaveOptions, saveCheckpoint } from './save-checkpoint.ts'
export { discardParts, type PartsToPublish, publishParts, savePart } from './save-parts.ts'
export type { PartOfCheckpoint } from './shards.ts'
export type { CheckpointDraft, CheckpointStore, SharedDraft } from './store.ts'
export type { NamedTensor, TensorRows } from './tensor.ts'
export { type WriteOptions, type WrittenFile, writeSafetensors } from './write-safetensors.ts'

/**
 * Documents, packing, held-out split, the order of samples, baselines.
 *
 * @example
 * const dataset = textDataset(readFolders(['./corpus']), { context: 128, seed: 1, globalBatch: 32, heldOut: 0.05, splitSeed: 0 })
 * const batch = dataset.batch('train', [0, 1, 2, 3]) // inputs and targets, int32 [4, 128]
 */
export { type Bigram, bigramLoss, type HeldOutText, trainBigram } from './bigram.ts'
export { byteVocabSize, decodeTokens, encodeText, type TokenDecoder, tokenDecoder } from './byte-tokenizer.ts'
export { type CustomData, type CustomSamples, customDataset, openCustomDataset } from './custom-dataset.ts'
export type { Baseline, Batch, Dataset, DatasetFacts, NamedArray, SplitName } from './dataset.ts'
export { type Document, type DocumentSet, textBytes } from './documents.ts'
export { DataErrors } from './errors.ts'
export { globMatcher } from './glob.ts'
export { documentSeparator, packDocuments, samplesIn } from './pack.ts'
export { keyedPermutation, type Permutation } from './permutation.ts'
export { defaultExclude, defaultInclude, type FolderOptions, readFolders } from './read-folder.ts'
export { readJsonl } from './read-jsonl.ts'
export { type SampleOrder, type SamplePlace, sampleOrder } from './sample-order.ts'
export { type Split, type SplitOptions, splitDocuments, splitScore } from './split.ts'
export { type TextDataset, type TextDatasetOptions, textDataset } from './text-dataset.ts'

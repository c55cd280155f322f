/**
 * Parallel strategies. Pipeline: a schedule's lists run over the stages of a model and the messages between them.
 */
export { ParallelErrors } from './errors.ts'
export { BucketReducer, type BucketReducerOptions } from './pipeline/bucket-reducer.ts'
export { fillBytes, FillExchange, type FillExchangeOptions } from './pipeline/fill-exchange.ts'
export { PacedFrozen, type PacedFrozenOptions } from './pipeline/paced-frozen.ts'
export { Mailbox, mailboxBytes, type MailboxOptions } from './pipeline/mailbox.ts'
export {
  partsHolding,
  type PipelineMesh,
  rankAt,
  ranksSharing,
  stagesOfPart,
} from './pipeline/mesh.ts'
export { messageTag } from './pipeline/message-tag.ts'
export { pacedFor, PacedStage, type PacedStageOptions } from './pipeline/paced-stage.ts'
export { type ListContext, type ListReport, runList, type Validation } from './pipeline/run-list.ts'
export { StateChain, type StateChainOptions, type StepState } from './pipeline/state-chain.ts'
export { type SharedBucket, sharedBuckets } from './pipeline/shared-buckets.ts'
export {
  VocabularyExchange,
  type VocabularyExchangeOptions,
  vocabularyBytes,
  vocabularyGroups,
} from './pipeline/vocabulary-exchange.ts'
export { WeightStash } from './pipeline/weight-stash.ts'

/**
 * Models whose gradients the trainer asks for, whole or cut in stages: GPT-2 by hand-written passes, and the flat layout of their parameters.
 */
export { cutsAt } from './cuts.ts'
export {
  type ElementRange,
  type FlatLayout,
  flatLayout,
  type ParamPlace,
  type ParamSpec,
  placeOf,
} from './flat-layout.ts'
export { drawToken, type GenerateOptions, generate, score } from './generate.ts'
export { type Gpt2Config, gpt2Params, type SegmentRange, segmentRanges } from './gpt2/config.ts'
export { Gpt2, type Gpt2Options } from './gpt2/gpt2-model.ts'
export { initialiseGpt2 } from './gpt2/initialise.ts'
export { Gpt2Pipeline, type Gpt2PipelineOptions, sharedSegment } from './gpt2/gpt2-pipeline.ts'
export { type VocabShard, vocabShards } from './layers/sharded-vocab.ts'
export { Gpt2Stage, type Gpt2StageOptions } from './gpt2/gpt2-stage.ts'
export { type Gpt2ToProfile, profileGpt2, profileGpt2Vocabulary } from './gpt2/profile-gpt2.ts'
export { sliceLengths } from './gpt2/slices.ts'
export { attentionPart, gpt2UnitFlops } from './gpt2/flops.ts'
export { gpt2Cuts, gpt2Units } from './gpt2/units.ts'
export { FrozenLayers, type FrozenLayersOptions } from './layers-model/frozen-layers.ts'
export { LayersModel, type LayersModelOptions } from './layers-model/layers-model.ts'
export { LayersPipeline, type LayersPipelineOptions, layersUnits } from './layers-model/layers-pipeline.ts'
export type { Loss, LossInputs } from './layers-model/loss.ts'
export { ModelErrors } from './errors.ts'
export type {
  FrozenPart,
  Keeps,
  Piece,
  PipelineModel,
  PipelineStage,
  StageStep,
  StageTensor,
  VocabularyPart,
} from './pipeline-stage.ts'
export { type ProfileOptions, profileUnits, type UnitsToProfile } from './profile-units.ts'
export type { Batch, LossSum, MicrobatchOptions, TrainableModel } from './trainable-model.ts'

/**
 * Models whose gradients the trainer asks for: GPT-2 by hand-written passes, and the flat layout of their parameters.
 */
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
export type { Accumulates } from './gpt2/flat-tensors.ts'
export { Gpt2Stage, type StageInput } from './gpt2/model-stage.ts'
export { LayersModel, type LayersModelOptions, type LossInputs } from './layers-model.ts'
export { ModelErrors } from './errors.ts'
export type { Keeps, Piece, PipelineModel, PipelineStage, StageStep, StageTensor } from './pipeline-stage.ts'
export type { Batch, LossSum, MicrobatchOptions, TrainableModel } from './trainable-model.ts'

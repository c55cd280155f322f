/**
 * The step: batch, gradients, reduce, update, vote. Runs in the device thread; everything outside it is behind `Peers`.
 */
export { applyUpdate, type UpdateOptions } from './apply-update.ts'
export {
  type CheckpointFacts,
  type CheckpointSinkOptions,
  type PartSaving,
  checkpointSink,
  loadCheckpoint,
  namedTensors,
} from './checkpoints.ts'
export { TrainerErrors } from './errors.ts'
export { DataParallel, type DataParallelOptions } from './data-parallel.ts'
export { evaluationSamples } from './evaluation-samples.ts'
export type { EvaluationReport, OpReport, Peers, StepReport } from './peers.ts'
export { PipelineParallel, type PipelineParallelOptions } from './pipeline-parallel.ts'
export { runStep, type StepContext, type StepResult } from './run-step.ts'
export { runsOf, shareOf } from './share.ts'
export type { StepGradients, Strategy } from './strategy.ts'
export { type CheckpointSink, type MirrorSink, type TrainContext, type TrainOutcome, trainLoop } from './train-loop.ts'
export { type SettledStep, UpdatesInDoubt } from './updates-in-doubt.ts'
export {
  createTrainingState,
  type TrainingState,
  tailElems,
  trainingStateBytes,
} from './training-state.ts'

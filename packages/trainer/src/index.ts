/**
 * The step: batch, gradients, reduce, update, vote. Runs in the device thread; everything outside it is behind `Peers`.
 */
export { applyUpdate, type UpdateOptions } from './apply-update.ts'
export {
  type CheckpointFacts,
  type CheckpointSinkOptions,
  checkpointSink,
  loadCheckpoint,
  namedTensors,
} from './checkpoints.ts'
export { TrainerErrors } from './errors.ts'
export { type EvaluationContext, evaluate, evaluationSamples } from './evaluate.ts'
export type { EvaluationReport, OpReport, Peers, StepReport } from './peers.ts'
export { runStep, type StepContext, type StepResult } from './run-step.ts'
export { runsOf, shareOf } from './share.ts'
export { type CheckpointSink, type TrainContext, type TrainOutcome, trainLoop } from './train-loop.ts'
export {
  createTrainingState,
  type TrainingState,
  tailElems,
  trainingStateBytes,
} from './training-state.ts'

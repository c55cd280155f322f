/**
 * The job file: helpers to write one, checks, defaults, the resolved form. Loads no TensorFlow.
 *
 * @example
 * export default defineJob({
 *   model: gpt2({ layers: 4, width: 256, heads: 8, context: 128 }),
 *   data: textFolder('./corpus'),
 *   optimizer: adamw({ lr: 1e-3 }),
 *   batch: { global: 32 },
 *   steps: 500,
 * })
 */
// A custom data set must be a pure function of its index: this is randomness that is one.
export { type Random, seededRandom } from '@skein/core'
export { type CustomData, type CustomSamples, customDataset } from '@skein/data'
export { type ParsedJob, jobSchema } from './config.ts'
export { JobErrors } from './errors.ts'
export { adamw, defineJob, everyStep, gpt2, jsonl, textFolder } from './helpers.ts'
export { importJobModule } from './import-job-module.ts'
export type {
  AdamW,
  CodeData,
  CodeModel,
  EveryStep,
  Gpt2Model,
  JobInput,
  JobSchedule,
  JsonlData,
  Precision,
  ScheduleCosts,
  Shares,
  ResolvedJob,
  TextData,
  ValueSource,
} from './job-types.ts'
export {
  type LayersModelOptions,
  type LayersModelSpec,
  type LossInputs,
  layersModel,
  type TfLayersModel,
  type TfTensor,
} from './layers-model.ts'
export { lrAt } from './learning-rate.ts'
export { type LoadOptions, loadJob } from './load-job.ts'
export { jobSchedule } from './job-schedule.ts'
export { possibleReplicas, workersOf } from './mesh.ts'
export { openDataset, openLayersModel } from './open-dataset.ts'
export type { JobOverrides } from './overrides.ts'
export { parseResolvedJob, type ResolveOptions, resolveJob } from './resolve-job.ts'

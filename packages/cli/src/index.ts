/**
 * What a job file imports, and the `skein` command.
 *
 * @example
 * import { adamw, defineJob, gpt2, textFolder } from 'skein'
 * export default defineJob({
 *   model: gpt2({ layers: 4, width: 256, heads: 8, context: 128 }),
 *   data: textFolder('./corpus'),
 *   optimizer: adamw({ lr: 1e-3 }),
 *   batch: { global: 32 },
 *   steps: 500,
 * })
 */
export {
  type AdamW,
  adamw,
  type CustomData,
  type CustomSamples,
  customDataset,
  defineJob,
  everyStep,
  type Gpt2Model,
  gpt2,
  type JobInput,
  jsonl,
  type LayersModelOptions,
  type LayersModelSpec,
  type LossInputs,
  layersModel,
  type Random,
  seededRandom,
  type TfLayersModel,
  type TfTensor,
  textFolder,
} from '@skein/job'

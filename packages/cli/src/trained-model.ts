import fs from 'node:fs'
import path from 'node:path'
import {
  CheckpointErrors,
  type Gpt2Sizes,
  type Gpt2Weights,
  importHuggingFace,
  isS3,
  type NamedTensor,
  openCheckpoint,
  type StoreEnvironment,
} from '@skein/checkpoint'
import { SkeinError } from '@skein/core'
import { CliErrors } from './errors.ts'
import { findBelow } from './newest-checkpoint.ts'

/** A trained language model as it lies on disk, checked. */
export interface TrainedModel extends Gpt2Weights {
  readonly sizes: Gpt2Sizes
  readonly tensors: readonly NamedTensor[]
  /** The folder, or `s3://…`, that the given path meant. */
  readonly folder: string
  readonly format: 'skein' | 'hf'
}

/**
 * Reads the GPT-2 that `given` means: a Hugging Face folder, a checkpoint, a folder of checkpoints, or a run's folder (its
 * newest checkpoint).
 * @throws SKEIN_CLI_NO_MODEL, SKEIN_CLI_MODEL_NOT_TEXT, and what @skein/checkpoint throws for files that are not whole
 */
export async function readTrainedModel(given: string, environment: StoreEnvironment = {}): Promise<TrainedModel> {
  if (isS3(given)) return readCheckpoint(given, environment)
  const folder = path.resolve(given)
  if (isHuggingFace(folder)) return { ...(await importHuggingFace(folder)), folder, format: 'hf' }
  const meant = await findBelow(folder).catch((error: unknown) => {
    if (!(error instanceof SkeinError) || error.code !== CheckpointErrors.NOT_FOUND.code) throw error
    const why = fs.existsSync(folder) ? 'it holds neither a checkpoint nor config.json' : 'there is no such folder'
    throw noModel(folder, why)
  })
  return readCheckpoint(meant.path, environment)
}

async function readCheckpoint(location: string, environment: StoreEnvironment): Promise<TrainedModel> {
  await using checkpoint = await openCheckpoint(location, { environment })
  const sizes = gpt2SizesOf(checkpoint.manifest.model)
  if (sizes === undefined) throw notText(checkpoint.path, checkpoint.manifest.model)
  return { sizes, tensors: await checkpoint.readParameters(), folder: checkpoint.path, format: 'skein' }
}

function isHuggingFace(folder: string): boolean {
  return fs.existsSync(path.join(folder, 'config.json')) && !fs.existsSync(path.join(folder, 'manifest.json'))
}

/** The sizes in a job's model where it is a GPT-2, else undefined. */
export function gpt2SizesOf(model: unknown): Gpt2Sizes | undefined {
  if (typeof model !== 'object' || model === null) return undefined
  const { kind, layers, width, heads, context, vocab } = model as Readonly<Record<string, unknown>>
  const sizes = [layers, width, heads, context, vocab]
  if (kind !== 'gpt2' || !sizes.every(size => typeof size === 'number')) return undefined
  return { layers, width, heads, context, vocab } as Gpt2Sizes
}

function noModel(folder: string, why: string): SkeinError {
  return new SkeinError(CliErrors.NO_MODEL, {
    what: `there is no model at ${folder}`,
    why,
    todo: 'give the checkpoint that a run printed (…/step-00000500), a run’s folder, or a Hugging Face folder of a GPT-2',
    details: { folder },
  })
}

function notText(folder: string, model: unknown): SkeinError {
  const kind = (model as { readonly kind?: unknown } | null)?.kind
  return new SkeinError(CliErrors.MODEL_NOT_TEXT, {
    what: `the checkpoint ${folder} holds a model of kind ${JSON.stringify(kind)}`,
    why: 'this command works on GPT-2 models; a model of the job’s own code is run by that code',
    todo: 'give a checkpoint of a job with gpt2({ … })',
    details: { folder, model },
  })
}

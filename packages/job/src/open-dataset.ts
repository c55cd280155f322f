import { type Dataset, openCustomDataset, readFolders, readJsonl, textDataset } from '@skein/data'
import { SkeinError } from '@skein/core'
import { JobErrors } from './errors.ts'
import { importJobModule } from './import-job-module.ts'
import type { ResolvedJob } from './job-types.ts'
import type { LayersModelSpec } from './layers-model.ts'

/**
 * The data set of a job: reads the text, or imports the job's own. The same on every worker.
 *
 * @throws what @skein/data throws: SKEIN_DATA_PATH_MISSING, _NO_DOCUMENTS, _JSONL_LINE, _NO_SPLIT, _TOO_SMALL, …
 */
export async function openDataset(job: ResolvedJob): Promise<Dataset> {
  const { data, seed, batch } = job
  if (data.kind === 'custom') {
    const { data: own } = await importJobModule(moduleFileOf(job))
    if (typeof own !== 'object' || !('open' in own)) throw moduleChanged(job, 'data', 'customDataset(…)')
    return openCustomDataset(own, { seed, globalBatch: batch.global })
  }
  const source = data.kind === 'jsonl' ? readJsonl(data.paths) : readFolders(data.paths, data)
  const { heldOut, splitSeed, context } = data
  return textDataset(source, { context, seed, globalBatch: batch.global, heldOut, splitSeed })
}

/** The functions of a job whose model is of kind "layers". Imports its module. */
export async function openLayersModel(job: ResolvedJob): Promise<LayersModelSpec> {
  const { model } = await importJobModule(moduleFileOf(job))
  if (model.kind !== 'layers') throw moduleChanged(job, 'model', 'layersModel(…)')
  return model
}

function moduleFileOf(job: ResolvedJob): string {
  if (job.moduleFile !== undefined) return job.moduleFile
  throw new SkeinError(JobErrors.INVALID, {
    what: `job ${job.name} has code for model or data, but no moduleFile`,
    why: 'the resolved job was not made by loadJob',
    todo: 'load the job from its TypeScript or JavaScript file',
  })
}

function moduleChanged(job: ResolvedJob, field: string, helper: string): SkeinError {
  return new SkeinError(JobErrors.INVALID, {
    what: `\`${field}\` in ${job.moduleFile} is not made by ${helper}, as it was when the run started`,
    why: 'the file was changed, or this machine has another version of it',
    todo: 'put the same job file on every machine, or start the run again',
    details: { field, moduleFile: job.moduleFile },
  })
}

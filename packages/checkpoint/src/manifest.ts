import { z } from 'zod'

/** The version of the folder's layout and of manifest.json. */
export const manifestFormat = 1

const fileSchema = z.object({
  name: z.string().regex(/^[\w.-]+$/),
  bytes: z.int().nonnegative(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** Of tensors that are not whole in this file, by their names in it: rows [start, start+size) of `of`. The others are in other files. */
  rows: z
    .record(z.string(), z.object({ start: z.int().nonnegative(), size: z.int().positive(), of: z.int().positive() }))
    .optional(),
})

/** manifest.json: written last, so a folder that has it is whole. Unknown keys are ignored, so that fields can be added. */
export const manifestSchema = z.object({
  format: z.literal(manifestFormat),
  /** Steps made; the parameters are those after this step. */
  step: z.int().nonnegative(),
  /** Global sample numbers below this one are trained; the next step begins here. */
  samplesSeen: z.int().nonnegative(),
  seed: z.int(),
  /** Of the parameters, 16 hex digits; compared with the commit record. Where the model was cut, the combination of those of its parts. */
  digest: z.string(),
  /** That the model was cut in, each of which has written its own tensors; absent: 1. */
  parts: z.int().positive().optional(),
  generation: z.int().nonnegative(),
  /** Of the data set, to notice at resume that the text has changed. */
  dataFingerprint: z.string().optional(),
  /** The resolved job, as JSON. */
  job: z.unknown(),
  /** The model's configuration, as JSON. */
  model: z.unknown(),
  /** Versions of what wrote it. */
  createdBy: z.record(z.string(), z.string()),
  files: z.array(fileSchema),
})

export type Manifest = z.infer<typeof manifestSchema>

/** `step-00000500`: sorts by step as text. */
export function checkpointFolderName(step: number): string {
  return `step-${String(step).padStart(8, '0')}`
}

export const checkpointFolderPattern = /^step-(\d{8,})$/
/** Orders names of checkpoints. */
export const byStepDescending = (a: string, b: string): number => stepOf(b) - stepOf(a)
export const stepOf = (name: string): number => Number(checkpointFolderPattern.exec(name)?.[1])
export const latestFileName = 'LATEST'
export const manifestFileName = 'manifest.json'
/** Stems of the shards, see `shardsOf`. */
export const modelStem = 'model'
export const optimizerStem = 'optimizer'
/** Prefixes of AdamW's moments in the optimizer file, before the parameter's name; torch's words. */
export const momentPrefixes = { expAvg: 'exp_avg.', expAvgSq: 'exp_avg_sq.' } as const

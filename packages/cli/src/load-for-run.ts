import path from 'node:path'
import { assertSameModel, findCheckpoint, readManifest } from '@skein/checkpoint'
import { loadJob, type ResolvedJob } from '@skein/job'
import { folderOfCheckpoints, newestCheckpoint } from './newest-checkpoint.ts'

/** The options by which `train` and `coordinator` change a job from outside. */
export interface JobOptions {
  readonly workers?: number
  readonly steps?: number
  readonly data?: string
  readonly seed?: number
  readonly precision?: 'f32' | 'bf16'
  readonly lr?: number
  readonly runDir?: string
  /** A checkpoint, or true: the newest of this job. */
  readonly resume?: string | true
}

/** A checked job with everything decided that a run needs to start. */
export interface RunToStart {
  readonly name: string
  readonly job: ResolvedJob
  readonly jobFile: string
  readonly numWorkers: number
  readonly runDir: string
  readonly resume: string | undefined
}

/**
 * Loads the job, applies the options, chooses the run's folder and finds what to resume. Creates nothing.
 * @throws what loadJob throws, and for a checkpoint that is not there, not whole or of another model, what @skein/checkpoint does
 */
export async function loadForRun(jobFile: string, options: JobOptions, now = new Date()): Promise<RunToStart> {
  const file = path.resolve(jobFile)
  const { workers, steps, data, seed, precision, lr } = options
  const job = await loadJob(file, {
    ...(workers === undefined ? {} : { workers }),
    ...(steps === undefined ? {} : { steps }),
    ...(data === undefined ? {} : { data }),
    ...(seed === undefined ? {} : { seed }),
    ...(precision === undefined ? {} : { precision }),
    ...(lr === undefined ? {} : { lr }),
  })
  const resume = options.resume === undefined ? undefined : await checkpointFor(job, options.resume)
  return {
    name: job.name,
    job,
    jobFile: file,
    numWorkers: job.mesh.dp,
    runDir: path.resolve(options.runDir ?? path.join(job.checkpoint.to, `${job.name}-${timestamp(now)}`)),
    resume,
  }
}

/** The checkpoint folder to go on from, known to be of the job's model. Its tensors are checked by who loads them. */
async function checkpointFor(job: ResolvedJob, resume: string | true): Promise<string> {
  const given = resume === true ? newestCheckpoint(job.checkpoint.to, job.name) : path.resolve(resume)
  const folder = await findCheckpoint(folderOfCheckpoints(given) ?? given)
  const manifest = await readManifest(folder)
  assertSameModel(folder, manifest.model, job.model)
  return folder
}

/** The same options as flags, for the coordinator process. */
export function jobFlags(options: JobOptions): string[] {
  const { steps, data, seed, precision, lr } = options
  const flags = { '--steps': steps, '--data': data, '--seed': seed, '--precision': precision, '--lr': lr }
  return Object.entries(flags).flatMap(([flag, value]) => (value === undefined ? [] : [flag, String(value)]))
}

/** Local time as 20260131-235959: sorts by age, and is a file name everywhere. */
function timestamp(now: Date): string {
  const two = (value: number) => String(value).padStart(2, '0')
  const date = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`
  return `${date}-${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`
}

import path from 'node:path'
import {
  assertSameModel,
  findCheckpoint,
  type FoundCheckpoint,
  isS3,
  type SkippedCheckpoint,
  type StoreEnvironment,
} from '@skein/checkpoint'
import { loadJob, type ResolvedJob, workersOf } from '@skein/job'
import { findBelow, newestCheckpoint } from './newest-checkpoint.ts'
import { runFolderName } from './run-folder.ts'

/** The options by which `train` and `coordinator` change a job from outside. */
export interface JobOptions {
  readonly workers?: number
  readonly pp?: number
  readonly schedule?: string
  readonly vocabulary?: 'whole' | 'sharded'
  readonly steps?: number
  readonly data?: string
  readonly seed?: number
  readonly precision?: 'f32' | 'bf16'
  readonly lr?: number
  readonly runDir?: string
  readonly checkpointEvery?: number
  readonly checkpointDir?: string
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
  /** Checkpoints that are newer than the one to resume, and not whole. */
  readonly skipped: readonly SkippedCheckpoint[]
}

/**
 * Loads the job, applies the options, chooses the run's folder and finds what to resume. Creates nothing.
 * @throws what loadJob throws, and for a checkpoint that is not there, not whole or of another model, what @skein/checkpoint does
 */
export async function loadForRun(
  jobFile: string,
  options: JobOptions,
  environment: StoreEnvironment = {},
  now = new Date(),
): Promise<RunToStart> {
  const file = path.resolve(jobFile)
  const { workers, pp, schedule, vocabulary, steps, data, seed, precision, lr, checkpointEvery, checkpointDir } =
    options
  const job = await loadJob(file, {
    ...(workers === undefined ? {} : { workers }),
    ...(pp === undefined ? {} : { pp }),
    ...(schedule === undefined ? {} : { schedule }),
    ...(vocabulary === undefined ? {} : { vocabulary }),
    ...(steps === undefined ? {} : { steps }),
    ...(data === undefined ? {} : { data }),
    ...(seed === undefined ? {} : { seed }),
    ...(precision === undefined ? {} : { precision }),
    ...(lr === undefined ? {} : { lr }),
    ...(checkpointEvery === undefined ? {} : { checkpointEvery }),
    ...(checkpointDir === undefined ? {} : { checkpointDir }),
  })
  const found = options.resume === undefined ? undefined : await checkpointFor(job, options.resume, environment)
  return {
    name: job.name,
    job,
    jobFile: file,
    numWorkers: workersOf(job.mesh),
    runDir: path.resolve(options.runDir ?? path.join(job.checkpoint.to, runFolderName(job.name, now))),
    resume: found?.path,
    skipped: found?.skipped ?? [],
  }
}

/** The checkpoint to go on from, known to be of the job's model; one that was looked for is whole, one that was named is checked by who loads it. */
async function checkpointFor(
  job: ResolvedJob,
  resume: string | true,
  environment: StoreEnvironment,
): Promise<FoundCheckpoint> {
  const found =
    resume === true
      ? await newestCheckpoint(job.checkpoint, job.name)
      : isS3(resume)
        ? await findCheckpoint(resume, { environment })
        : await findBelow(path.resolve(resume))
  assertSameModel(found.path, found.manifest.model, job.model)
  return found
}

/** The same options as flags, for the coordinator process. */
export function jobFlags(options: JobOptions): string[] {
  const { pp, schedule, vocabulary, steps, data, seed, precision, lr, checkpointEvery, checkpointDir } = options
  const flags = {
    '--pp': pp,
    '--schedule': schedule,
    '--vocabulary': vocabulary,
    '--steps': steps,
    '--data': data,
    '--seed': seed,
    '--precision': precision,
    '--lr': lr,
    '--checkpoint-every': checkpointEvery,
    '--checkpoint-dir': checkpointDir,
  }
  return Object.entries(flags).flatMap(([flag, value]) => (value === undefined ? [] : [flag, String(value)]))
}

import path from 'node:path'
import { SkeinError } from '@skein/core'
import { familyOf, withDefaultSizes } from '@skein/schedule'
import { checkJob } from './check-job.ts'
import type { ParsedJob } from './config.ts'
import { JobErrors } from './errors.ts'
import type { AdamW, JobSchedule, ResolvedJob, ScheduleCosts, ValueSource } from './job-types.ts'
import { applyOverrides, type JobOverrides } from './overrides.ts'
import { checkRules, divisorsOf } from './rules.ts'
import { microbatchesProblem } from './schedules.ts'

export interface ResolveOptions {
  /** The job file, absolute; data paths in the job are relative to its folder. */
  readonly jobFile: string
  /** What `checkpoint.to` and paths in overrides are relative to. */
  readonly cwd: string
  readonly overrides?: JobOverrides
}

type ParsedCosts = NonNullable<NonNullable<ParsedJob['schedule']>['costs']>

const largestDefaultMicro = 8
/** Tokens of a sample of text for a model that does not say it. */
const defaultContext = 128

/**
 * A job value as a job with nothing left open: overrides put in, every default filled in, paths absolute, rules checked.
 *
 * @throws SKEIN_JOB_UNKNOWN_KEY, SKEIN_JOB_INVALID, SKEIN_JOB_CONFLICT
 */
export function resolveJob(value: unknown, options: ResolveOptions): ResolvedJob {
  const { jobFile, cwd } = options
  const given = applyOverrides(value, options.overrides ?? {}, cwd)
  const parsed = checkJob(given.value, path.basename(jobFile))
  const data = resolveData(parsed, path.dirname(jobFile))
  const needsModule = parsed.model.kind === 'layers' || data.kind === 'custom'
  const schedule = resolveSchedule(parsed, given.flagged)
  const elastic = resolveElastic(parsed, given.flagged)
  const job: Omit<ResolvedJob, 'sources'> = {
    name: parsed.name ?? nameOf(jobFile),
    model: parsed.model.kind === 'layers' ? { kind: 'layers', name: parsed.model.name } : parsed.model,
    data,
    optimizer: resolveOptimizer(parsed.optimizer, parsed.steps),
    sync: parsed.sync,
    batch: { ...parsed.batch, micro: parsed.batch.micro ?? defaultMicro(parsed, schedule) },
    mesh: parsed.mesh,
    ...(schedule === undefined ? {} : { schedule }),
    steps: parsed.steps,
    eval: { every: parsed.eval.every ?? Math.ceil(parsed.steps / 10), samples: parsed.eval.samples },
    checkpoint: resolveCheckpoint(parsed.checkpoint, cwd),
    seed: parsed.seed,
    precision: parsed.precision,
    ...(elastic === undefined ? {} : { elastic }),
    jobFile,
    ...(needsModule ? { moduleFile: jobFile } : {}),
  }
  const resolved = { ...job, sources: sourcesOf(job, given.value, given.flagged) }
  checkRules(resolved, path.basename(jobFile))
  return resolved
}

function resolveCheckpoint({ dir, to, ...rest }: ParsedJob['checkpoint'], cwd: string): ResolvedJob['checkpoint'] {
  const place = dir === undefined || dir.startsWith('s3://') ? dir : path.resolve(cwd, dir)
  return { ...rest, to: path.resolve(cwd, to), ...(place === undefined ? {} : { dir: place }) }
}

function resolveData({ data, model }: ParsedJob, folder: string): ResolvedJob['data'] {
  if (data.kind === 'custom') return { kind: 'custom' }
  const context = data.context ?? (model.kind === 'gpt2' ? model.context : defaultContext)
  return { ...data, paths: data.paths.map(one => path.resolve(folder, one)), context }
}

function resolveOptimizer(optimizer: ParsedJob['optimizer'], steps: number): AdamW {
  return {
    ...optimizer,
    warmupSteps: optimizer.warmupSteps ?? Math.min(100, Math.floor(steps / 20)),
    minLr: optimizer.minLr ?? Number((optimizer.lr / 10).toPrecision(12)),
  }
}

/** Without its pipeline a job that is run so once has nothing to mirror; if the job itself says so, it is a conflict. */
function resolveElastic({ mesh, elastic }: ParsedJob, flagged: ReadonlySet<string>): ParsedJob['elastic'] {
  if (elastic === undefined || mesh.pp > 1 || !flagged.has('mesh.pp')) return elastic
  const { mirror: _, ...limits } = elastic
  return limits
}

function resolveSchedule({ mesh, schedule }: ParsedJob, flagged: ReadonlySet<string>): JobSchedule | undefined {
  if (mesh.pp === 1 && schedule === undefined) return undefined
  // A job that is run once without its pipeline; if the job itself says so, it is a conflict.
  const isAskedFor = flagged.has('schedule.name') || flagged.has('schedule.vocabulary')
  if (mesh.pp === 1 && flagged.has('mesh.pp') && !isAskedFor) return undefined
  const {
    name = '1f1b',
    chunks: chunksGiven,
    slices: slicesGiven,
    recompute = false,
    offload = false,
    vocabulary = 'whole',
    cuts,
    cap,
    costs,
  } = schedule ?? {}
  const { chunks, slices } = withDefaultSizes(familyOf(name), {
    ranks: mesh.pp,
    microbatches: 1,
    ...(chunksGiven === undefined ? {} : { chunks: chunksGiven }),
    ...(slicesGiven === undefined ? {} : { slices: slicesGiven }),
  })
  return {
    name,
    chunks,
    slices,
    recompute,
    offload,
    vocabulary,
    ...(cuts === undefined ? {} : { cuts }),
    ...(cap === undefined ? {} : { cap }),
    ...(costs === undefined ? {} : { costs: withoutAbsent(costs) }),
  }
}

function withoutAbsent({ vocabulary, ...costs }: ParsedCosts): ScheduleCosts {
  return { ...costs, ...(vocabulary === undefined ? {} : { vocabulary }) }
}

/**
 * The largest number of samples up to 8 that divides a replica's share; in a pipeline such that there are enough microbatches to fill it, and
 * as many as its schedule takes, if that can be.
 */
function defaultMicro({ batch, mesh }: ParsedJob, schedule: JobSchedule | undefined): number {
  const share = batch.global / mesh.dp
  if (!Number.isInteger(share)) return 1
  const sizes = divisorsOf(share).filter(micro => micro <= largestDefaultMicro)
  const suits = (micro: number) =>
    schedule === undefined || microbatchesProblem(schedule, mesh.pp, share / micro) === undefined
  const fills = (micro: number) => share / micro >= mesh.pp
  return sizes.findLast(micro => suits(micro) && fills(micro)) ?? sizes.findLast(suits) ?? sizes.at(-1) ?? 1
}

/** "gpt.job.ts" → "gpt". */
function nameOf(jobFile: string): string {
  const name = path
    .basename(jobFile)
    .replace(/(\.job)?\.[^.]+$/, '')
    .replaceAll(/[^\w.-]+/g, '-')
    .slice(0, 80)
  return name === '' ? 'job' : name
}

function sourcesOf(job: object, given: unknown, flagged: ReadonlySet<string>): Record<string, ValueSource> {
  const sources: Record<string, ValueSource> = {}
  const walk = (value: unknown, input: unknown, at: string) => {
    const isSection = typeof value === 'object' && value !== null && !Array.isArray(value)
    if (!isSection) {
      sources[at] = flagged.has(at) ? 'flag' : input === undefined ? 'default' : 'job'
      return
    }
    for (const [key, child] of Object.entries(value)) {
      const under = typeof input === 'string' ? input : (input as Readonly<Record<string, unknown>> | undefined)?.[key]
      walk(child, under, at === '' ? key : `${at}.${key}`)
    }
  }
  const { jobFile: _jobFile, moduleFile: _moduleFile, ...values } = job as ResolvedJob
  walk(values, given, '')
  if (flagged.has('data.paths')) for (const key of Object.keys(sources)) if (key === 'data.kind') sources[key] = 'flag'
  return sources
}

/** Whether a value that came over a link or out of a manifest is a resolved job. @throws SKEIN_JOB_INVALID and others */
export function parseResolvedJob(value: unknown): ResolvedJob {
  const { jobFile, moduleFile, sources, ...job } = value as ResolvedJob
  if (typeof jobFile !== 'string' || (moduleFile !== undefined && typeof moduleFile !== 'string')) {
    throw new SkeinError(JobErrors.INVALID, {
      what: 'a value without `jobFile` was given as a resolved job',
      todo: 'pass what resolveJob or loadJob returned',
    })
  }
  const code = () => undefined
  const withCode = {
    ...job,
    model: job.model?.kind === 'layers' ? { ...job.model, build: code, loss: code } : job.model,
    data: job.data?.kind === 'custom' ? { ...job.data, open: code } : job.data,
  }
  const { mesh } = checkJob(withCode, 'the resolved job')
  const resolved = {
    ...job,
    mesh,
    jobFile,
    ...(moduleFile === undefined ? {} : { moduleFile }),
    sources: sources ?? {},
  }
  checkRules(resolved, 'the resolved job')
  return resolved
}

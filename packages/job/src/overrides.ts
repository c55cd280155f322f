import path from 'node:path'
import { SkeinError } from '@skein/core'
import { JobErrors } from './errors.ts'
import type { JobSchedule, Precision } from './job-types.ts'

/** Values given for one run, on the command line: they win over the job file. */
export interface JobOverrides {
  readonly name?: string
  readonly steps?: number
  /** Folder, file or .jsonl file, relative to the current folder; instead of the job's data. */
  readonly data?: string | readonly string[]
  /** Number of workers: mesh.dp · mesh.pp, of which pp stays. */
  readonly workers?: number
  /** mesh.pp. */
  readonly pp?: number
  /** schedule.name; the numbers of another rule are the job's no more. */
  readonly schedule?: string
  /** schedule.vocabulary. */
  readonly vocabulary?: JobSchedule['vocabulary']
  readonly seed?: number
  readonly precision?: Precision
  readonly lr?: number
  /** batch.global. */
  readonly batch?: number
  /** batch.micro. */
  readonly micro?: number
  readonly evalEvery?: number
  readonly evalSamples?: number
  readonly checkpointEvery?: number
  /** checkpoint.to, relative to the current folder. */
  readonly checkpointTo?: string
  readonly keep?: number
  /** checkpoint.dir, relative to the current folder. */
  readonly checkpointDir?: string
  /** What is asked is how to cut it, nothing is trained: a schedule, who may join, shares and evaluation are no matter, and left out. */
  readonly onlyPlan?: boolean
}

const targets: Readonly<
  Record<Exclude<keyof JobOverrides, 'data' | 'workers' | 'schedule' | 'vocabulary' | 'onlyPlan'>, string>
> = {
  name: 'name',
  steps: 'steps',
  pp: 'mesh.pp',
  seed: 'seed',
  precision: 'precision',
  lr: 'optimizer.lr',
  batch: 'batch.global',
  micro: 'batch.micro',
  evalEvery: 'eval.every',
  evalSamples: 'eval.samples',
  checkpointEvery: 'checkpoint.every',
  checkpointTo: 'checkpoint.to',
  keep: 'checkpoint.keep',
  checkpointDir: 'checkpoint.dir',
}

/** A copy of a job value with overrides put in, and their dotted paths. @throws SKEIN_JOB_CONFLICT for text to a model of code, and for part of a replica */
export function applyOverrides(
  value: unknown,
  overrides: JobOverrides,
  cwd: string,
): { readonly value: unknown; readonly flagged: ReadonlySet<string> } {
  const flagged = new Set<string>()
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return { value, flagged }
  let job = value as Readonly<Record<string, unknown>>
  if (overrides.onlyPlan === true) job = onlyToPlan(job)
  for (const [name, target] of Object.entries(targets)) {
    const given = overrides[name as keyof typeof targets]
    if (given === undefined) continue
    job = withValue(job, target.split('.'), given)
    flagged.add(target)
  }
  if (overrides.workers !== undefined) {
    job = withValue(job, ['mesh', 'dp'], replicasOf(job, overrides.workers))
    flagged.add('mesh.dp')
  }
  if (overrides.schedule !== undefined) {
    job = { ...job, schedule: scheduleFrom(job, overrides.schedule) }
    flagged.add('schedule.name')
  }
  if (overrides.vocabulary !== undefined) {
    const former = typeof job['schedule'] === 'string' ? { name: job['schedule'] } : job['schedule']
    job = { ...job, schedule: withValue(former, ['vocabulary'], overrides.vocabulary) }
    flagged.add('schedule.vocabulary')
  }
  if (overrides.data !== undefined) {
    job = { ...job, data: dataFrom(job, [overrides.data].flat(), cwd) }
    flagged.add('data.paths')
  }
  return { value: job, flagged }
}

function onlyToPlan(job: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const { schedule: _schedule, elastic: _elastic, eval: _eval, ...rest } = job
  return withValue(rest, ['batch', 'shares'], undefined)
}

function withValue(section: unknown, keys: readonly string[], value: unknown): Readonly<Record<string, unknown>> {
  const [key = '', ...rest] = keys
  const copy = typeof section === 'object' && section !== null ? { ...section } : {}
  const inner = (copy as Readonly<Record<string, unknown>>)[key]
  return { ...copy, [key]: rest.length === 0 ? value : withValue(inner, rest, value) }
}

/** How many replicas so many workers make. */
function replicasOf(job: Readonly<Record<string, unknown>>, workers: number): number {
  const pp = (job['mesh'] as { readonly pp?: unknown } | undefined)?.pp ?? 1
  // What is wrong with pp itself is found when the job is checked.
  if (typeof pp !== 'number' || !(pp >= 1) || workers % pp === 0) return workers / (Number(pp) >= 1 ? Number(pp) : 1)
  const fewer = Math.floor(workers / pp) * pp
  throw new SkeinError(JobErrors.CONFLICT, {
    what: `${workers} workers (--workers) are not whole replicas of mesh.pp ${pp} workers each`,
    todo: `take ${fewer > 0 ? `${fewer} or ` : ''}${fewer + pp} workers, or another mesh.pp`,
    details: { fields: ['workers', 'mesh.pp'], workers, pp },
  })
}

function scheduleFrom(job: Readonly<Record<string, unknown>>, name: string): object {
  const former = job['schedule']
  if (typeof former !== 'object' || former === null) return { name }
  const {
    chunks: _chunks,
    slices: _slices,
    cuts: _cuts,
    cap: _cap,
    costs: _costs,
    ...kept
  } = former as Readonly<Record<string, unknown>>
  return { ...(kept['name'] === name ? former : kept), name }
}

function dataFrom(job: Readonly<Record<string, unknown>>, given: readonly string[], cwd: string): object {
  const model = job['model'] as { readonly kind?: unknown } | undefined
  if (model?.kind === 'layers') {
    throw new SkeinError(JobErrors.CONFLICT, {
      what: `--data ${given.join(' ')} gives text, but the job's model is of kind "layers" with data of its own`,
      why: 'text comes as byte tokens in `inputs` and `targets`, which a model of your own does not expect',
      todo: 'leave --data out, or change `data` in the job file',
      details: { fields: ['data', 'model'] },
    })
  }
  const former = job['data'] as Readonly<Record<string, unknown>> | string | undefined
  // The split stays as the job has it; its patterns were made for its own folders and go.
  const split =
    typeof former === 'object'
      ? Object.fromEntries(Object.entries(former).filter(([key]) => key === 'heldOut' || key === 'splitSeed'))
      : {}
  const paths = given.map(one => path.resolve(cwd, one))
  return { kind: paths.every(one => one.endsWith('.jsonl')) ? 'jsonl' : 'text', paths, ...split }
}

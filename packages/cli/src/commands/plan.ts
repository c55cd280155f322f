import { loadJob, type ResolvedJob } from '@skein/job'
import type { Costs } from '@skein/schedule'
import {
  type Candidate,
  describeCandidate,
  type Jitter,
  type Plan,
  type PlanOptions,
  planPipeline,
  type UnitProfile,
} from '@skein/planner'
import { type MeasuredCosts, readCosts, writeCosts } from '../costs-file.ts'
import { usage } from '../option-values.ts'
import { columnsOf } from '../view/columns.ts'
import { formatBytes } from '../view/format.ts'

export interface PlanCommandOptions {
  readonly jobFile: string
  /** Default: pp of the job's mesh. */
  readonly ranks?: number
  /** Of a rank. */
  readonly memory?: number
  /** File of measured costs; without it they are measured. */
  readonly costs?: string
  /** File to write what was measured to. */
  readonly saveCosts?: string
  readonly device?: string
  readonly threads?: number
  readonly latencyMs?: number
  readonly mbit?: number
  /** Standard deviation of the time of a pass, over its mean. */
  readonly jitter?: number
  /** Rows of the table. */
  readonly top: number
  readonly json: boolean
}

const samplesOfJitter = 20

/**
 * `skein plan`: every pipeline schedule that fits the memory, the quickest first, from costs measured or given. Trains nothing.
 * @throws what loading the job throws, SKEIN_CLI_USAGE, SKEIN_PLANNER_TOO_MANY_STAGES, SKEIN_PLANNER_NOTHING_FITS
 */
export async function plan(options: PlanCommandOptions): Promise<number> {
  const { jobFile, memory, jitter, top, json } = options
  const job = await jobFor(jobFile, options.ranks)
  const { device, ...costs } = await costsFor(job, options)
  const sizes = {
    ranks: job.mesh.pp,
    microbatches: job.batch.global / (job.mesh.dp * job.batch.micro),
    ...(memory === undefined ? {} : { memoryBytes: memory }),
  }
  const given: PlanOptions = {
    ...costs,
    ...sizes,
    slices: slicesFor(job),
    ...(jitter === undefined ? {} : { jitter: jitterOf(jitter) }),
  }
  const found = planPipeline(given)
  const best = found.candidates[0] as Candidate
  const text = json
    ? JSON.stringify({ ...sizes, ...costs, schedule: scheduleKey(best), ...found })
    : [...heading(job, given, device), '', ...table(found, top), ...ending(found, best, top)].join('\n')
  process.stdout.write(`${text}\n`)
  return 0
}

/** The job with so many ranks, whatever schedule it names: that is what is asked here. */
async function jobFor(file: string, ranks: number | undefined): Promise<ResolvedJob> {
  const job = await loadJob(file, { onlyPlan: true, ...(ranks === undefined ? {} : { pp: ranks }) })
  if (job.mesh.pp > 1) return job
  throw usage(`the job ${file} has a mesh.pp of 1`, 'pass --ranks, in how many parts the model is to be cut')
}

async function costsFor(
  job: ResolvedJob,
  options: PlanCommandOptions,
): Promise<MeasuredCosts & { readonly device?: string }> {
  const { costs: file, saveCosts, latencyMs, mbit } = options
  const costs = file === undefined ? await measured(job, options) : readCosts(file)
  if (saveCosts !== undefined) writeCosts(saveCosts, costs)
  const expected = job.model.kind === 'gpt2' ? job.model.layers + 2 : costs.units.length
  if (costs.units.length !== expected) {
    throw usage(
      `--costs ${file} has ${costs.units.length} units, and the model of the job has ${expected}`,
      'pass costs that were measured for this model',
    )
  }
  return {
    ...costs,
    machine: {
      ...costs.machine,
      ...(latencyMs === undefined ? {} : { hopMs: latencyMs }),
      ...(mbit === undefined ? {} : { bytesPerMs: mbit * 125 }),
    },
  }
}

async function measured(job: ResolvedJob, { device, threads }: PlanCommandOptions) {
  const { model, batch, precision } = job
  if (model.kind !== 'gpt2') {
    throw usage(
      `the model of the job is of kind ${model.kind}`,
      'pass --costs: only the units of a GPT-2 are measured here',
    )
  }
  const { measureCosts } = await import('../measure-costs.ts')
  return measureCosts({
    model,
    samples: batch.micro,
    ranks: job.mesh.pp,
    precision,
    ...(device === undefined ? {} : { device }),
    ...(threads === undefined ? {} : { threads }),
  })
}

const jitterOf = (spread: number): Jitter => ({ spread, samples: samplesOfJitter, seed: 0 })

/** A sequence can be cut where the model knows how. */
function slicesFor({ model }: ResolvedJob): readonly number[] {
  return model.kind === 'gpt2' ? [2, 4, 8].filter(slices => slices <= model.context) : []
}

function heading(
  job: ResolvedJob,
  { ranks, microbatches, memoryBytes, units, machine, vocabulary }: PlanOptions,
  device: string | undefined,
): string[] {
  const work = units.reduce((sum, { forward, backward }) => sum + forward + backward, 0)
  const limit = memoryBytes === undefined ? 'as much memory as it takes' : `at most ${formatBytes(memoryBytes)} a rank`
  return [
    `${job.name}: ${units.length} units on ${ranks} ranks, ${microbatches} microbatches of ${job.batch.micro} sample${job.batch.micro === 1 ? '' : 's'}, ${limit}`,
    `one microbatch takes ${formatMs(work)} on ${device === undefined ? 'one device' : `this machine's ${device}`}, ${formatBytes(Math.max(0, ...units.slice(0, -1).map(unit => unit.boundaryBytes)))} go between stages; links of ${Number((machine.bytesPerMs / 125).toPrecision(3))} Mbit/s, ${machine.hopMs} ms one way`,
    ...(job.model.kind === 'gpt2' && ranks > 1 ? [aboutVocabulary(ranks, units, vocabulary)] : []),
  ]
}

/** What it takes to deal the vocabulary out, or why that is not considered. */
function aboutVocabulary(ranks: number, units: PlanOptions['units'], vocabulary: PlanOptions['vocabulary']): string {
  if (vocabulary?.ranks !== ranks) {
    const known = vocabulary === undefined ? 'none' : `those over ${vocabulary.ranks} ranks`
    return `a sharded vocabulary is not considered: of its times the costs have ${known}; they are measured without --costs`
  }
  const { first, last, lookup, logits, gradients, lookupGrad } = vocabulary
  const whole = [units[0], units.at(-1)].reduce((sum, unit) => sum + timeOf(unit), 0)
  const part = lookup + logits + gradients + lookupGrad
  return `embedding and head take ${formatMs(whole)} of it; with a sharded vocabulary ${formatMs(timeOf(first) + timeOf(last))}, and each rank ${formatMs(part)} for its part`
}

const timeOf = (unit: UnitProfile | undefined) => (unit?.forward ?? 0) + (unit?.backward ?? 0)

function table({ candidates }: Plan, top: number): string[] {
  const hasJitter = candidates[0]?.p90Ms !== undefined
  const rows = candidates.slice(0, top).map(one => {
    const most = one.memory.reduce((a, b) => (b.total > a.total ? b : a))
    return [
      one.cap === undefined ? one.name : `${one.name} (cap ${one.cap})`,
      changesOf(one),
      one.stageUnits.join(' '),
      formatMs(one.stepMs),
      ...(hasJitter ? [formatMs(one.p90Ms ?? 0)] : []),
      `${(100 * one.bubble).toFixed(1)} %`,
      formatBytes(one.peakBytes),
      formatBytes(most.activations),
      formatBytes(most.messages),
      formatBytes(most.state),
    ]
  })
  const titles = ['schedule', 'with', 'units of each stage', 'step', ...(hasJitter ? ['p90'] : []), 'idle']
  return columnsOf([[...titles, 'memory', 'activations', 'messages', 'state'], ...rows])
}

function changesOf({ recompute, offload, slices, vocabulary }: Candidate): string {
  const changes = [
    ...(vocabulary === undefined ? [] : ['sharded vocabulary']),
    ...(slices > 1 ? [`${slices} slices`] : []),
    ...(recompute ? ['recompute'] : []),
    ...(offload ? ['offload'] : []),
  ]
  return changes.join(', ') || '–'
}

/** What was left out and why, and what to write into the job. */
function ending({ candidates, tooLarge, refused }: Plan, best: Candidate, top: number): string[] {
  const more = candidates.length - top
  const nearest = tooLarge[0]
  const reasons = new Map<string, string[]>()
  for (const { name, chunks, reason, vocabulary } of refused) {
    const label = `${chunks > 1 ? `${name}×${chunks}` : name}${vocabulary === undefined ? '' : ' with a sharded vocabulary'}`
    reasons.set(reason, [...(reasons.get(reason) ?? []), label])
  }
  return [
    ...withoutShards(candidates, best),
    ...(more > 0 ? [`… and ${more} more that fit (--top ${candidates.length})`] : []),
    '',
    ...(nearest === undefined
      ? []
      : [`${tooLarge.length} need more memory, from ${formatBytes(nearest.peakBytes)} (${nearest.name})`]),
    ...[...reasons].map(([reason, names]) => `not there: ${[...new Set(names)].join(', ')}: ${reason}`),
    '',
    `for the job: schedule: ${JSON.stringify(scheduleKey(best))}`,
  ]
}

/** What dealing the vocabulary out is worth. */
function withoutShards(candidates: Plan['candidates'], best: Candidate): string[] {
  const whole = candidates.find(({ vocabulary }) => vocabulary === undefined)
  if (best.vocabulary === undefined || whole === undefined) return []
  const also = best.p90Ms === undefined ? '' : `, p90 ${formatMs(whole.p90Ms ?? 0)}`
  return [
    `the quickest with a whole vocabulary: ${describeCandidate(whole)}, ${formatMs(whole.stepMs)}${also}, ${formatBytes(whole.peakBytes)}`,
  ]
}

/** The key `schedule` of a job that runs what was planned. */
export function scheduleKey({
  name,
  chunks,
  slices,
  recompute,
  offload,
  vocabulary,
  stageUnits,
  cap,
  costs,
}: Candidate) {
  const starts = stageUnits
    .slice(1)
    .map((_, stage) => stageUnits.slice(0, stage + 1).reduce((sum, one) => sum + one, 0))
  return {
    name,
    chunks,
    ...(slices > 1 ? { slices } : {}),
    ...(recompute ? { recompute } : {}),
    ...(offload ? { offload } : {}),
    ...(vocabulary === undefined ? {} : { vocabulary }),
    cuts: starts,
    ...(cap === undefined ? {} : { cap }),
    ...(costs === undefined ? {} : { costs: searchedFor(costs) }),
  }
}

function searchedFor({ stages = [], hop = 0, linkBusy = 0, message = 0, vocabulary }: Costs) {
  const passes = stages.map(({ forward, inputGrad, weightGrad, backward = 0 }) => {
    return { forward, inputGrad, weightGrad, backward }
  })
  return { stages: passes, hop, linkBusy, message, ...(vocabulary === undefined ? {} : { vocabulary }) }
}

const formatMs = (ms: number) => (ms < 100 ? `${ms.toPrecision(3)} ms` : `${Math.round(ms)} ms`)

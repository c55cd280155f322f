import { SkeinError } from '@skein/core'
import {
  type Costs,
  generateSchedule,
  offloadActivations,
  recompute,
  type Schedule,
  ScheduleErrors,
  type Simulation,
  simulate,
  steadyPeriod,
  usualCopyCosts,
  withVocabularyShards,
} from '@skein/schedule'
import { type Alternative, type AlternativeOptions, alternativesFor, type Refusal } from './alternatives.ts'
import { PlannerErrors } from './errors.ts'
import { evenRanks } from './even-ranks.ts'
import { type Jitter, p90, stretchOf } from './jitter.ts'
import { memoryOf, type RankMemory } from './memory.ts'
import { partition } from './partition.ts'
import { costsOf, type MachineProfile, stagesOf, type UnitProfile, type VocabularyProfile } from './profile.ts'

export interface PlanOptions extends AlternativeOptions {
  readonly units: readonly UnitProfile[]
  readonly machine: MachineProfile
  /** Consider to deal the vocabulary out, too, where it was measured for as many ranks. */
  readonly vocabulary?: VocabularyProfile
  /** Of a rank; default as much as it takes. */
  readonly memoryBytes?: number
  /** Whether all ranks meet at the end of a step, as clipping by the global norm and every commit make them; default true. */
  readonly barrier?: boolean
  /** Choose by the time that nine steps in ten do not exceed; default: by the mean costs alone. */
  readonly jitter?: Jitter
}

/** A schedule with what a step of it is predicted to take. */
export interface Candidate extends Alternative {
  readonly recompute: boolean
  readonly offload: boolean
  /** What it was searched for, where it has a cap, or its passes of the vocabulary were placed for. */
  readonly costs?: Costs
  /** Units of each stage. */
  readonly stageUnits: readonly number[]
  readonly stepMs: number
  /** Where jitter was asked for. */
  readonly p90Ms?: number
  /** Part of the time of all devices that they stand idle. */
  readonly bubble: number
  /** By rank. */
  readonly memory: readonly RankMemory[]
  /** Of the rank that needs most. */
  readonly peakBytes: number
}

export interface Plan {
  /** Those within the memory, the quickest first; never empty. */
  readonly candidates: readonly Candidate[]
  /** Those over it, the smallest first. */
  readonly tooLarge: readonly Candidate[]
  /** Those that there are not for these numbers. */
  readonly refused: readonly Refusal[]
}

/**
 * Every schedule that could run, timed in the simulator with measured costs, and the memory that each rank needs for it.
 * @throws SKEIN_PLANNER_TOO_MANY_STAGES, SKEIN_PLANNER_NOTHING_FITS, SKEIN_PLANNER_NO_SCHEDULE
 */
export function planPipeline(options: PlanOptions): Plan {
  const { units, ranks, memoryBytes = Number.POSITIVE_INFINITY } = options
  const { made, refused } = alternativesFor(options)
  const noStages: Refusal[] = []
  const all: Candidate[] = []
  for (const one of made) {
    if (one.chunks > 1 && ranks * one.chunks > units.length) {
      noStages.push({
        ...one,
        reason: `${ranks * one.chunks} stages are more than the ${units.length} units of the model`,
      })
      continue
    }
    for (const way of [one, ...sharded(one, options)]) {
      const found = candidatesOf(way, options)
      if (typeof found !== 'string') {
        all.push(...found)
        continue
      }
      noStages.push({ ...way, reason: found })
      break
    }
  }
  const kept = withoutDominated(all)
  const timeOf = ({ p90Ms, stepMs }: Candidate) => p90Ms ?? stepMs
  const plan: Plan = {
    candidates: kept
      .filter(({ peakBytes }) => peakBytes <= memoryBytes)
      .sort((a, b) => timeOf(a) - timeOf(b) || a.peakBytes - b.peakBytes),
    tooLarge: kept.filter(({ peakBytes }) => peakBytes > memoryBytes).sort((a, b) => a.peakBytes - b.peakBytes),
    refused: [...refused, ...noStages],
  }
  if (kept.length === 0) throw noSchedule(options, plan.refused)
  if (plan.candidates.length === 0) throw nothingFits(memoryBytes, plan.tooLarge[0] as Candidate)
  return plan
}

/** The same with the vocabulary over all ranks, where it is known what that takes. */
function sharded(one: Alternative, { ranks, vocabulary }: PlanOptions): readonly Alternative[] {
  return ranks > 1 && vocabulary?.ranks === ranks ? [{ ...one, vocabulary: 'sharded' }] : []
}

/** The schedule of a candidate, with what it changes. */
export function scheduleOf(candidate: Candidate, options: PlanOptions): Schedule {
  return changed(prepared(candidate, options).plain, candidate)
}

/**
 * The schedule as it is, and the stages that it runs; rules that go by costs are given none, as a job gives them none.
 * @throws SKEIN_SCHEDULE_OPTIONS, SKEIN_SCHEDULE_INVALID where the vocabulary cannot be dealt out
 */
function prepared(one: Alternative, { units, ranks, microbatches, machine, vocabulary: measured }: PlanOptions) {
  const { name, chunks, slices, cap } = one
  const vocabulary = one.vocabulary === 'sharded' ? measured : undefined
  const own = vocabulary === undefined ? units : [vocabulary.first, ...units.slice(1, -1), vocabulary.last]
  const work = own.map(({ forward, backward }) => forward + backward)
  const sizes = { ranks, microbatches, chunks, slices }
  const inStages = (counts: readonly number[]) => {
    const stages = stagesOf(own, counts, machine, vocabulary)
    return { stages, vocabulary, costs: costsOf(stages, machine, { ranks, slices, vocabulary }) }
  }
  const dealtOut = (plain: Schedule, costs: Costs) =>
    vocabulary === undefined ? plain : withVocabularyShards(plain, costs)
  // That which is searched for costs has a stage on each rank.
  if (cap !== undefined) {
    const cut = inStages(partition(work, ranks))
    return { ...cut, plain: dealtOut(generateSchedule(name, { ...sizes, cap, costs: cut.costs }), cut.costs) }
  }
  const plain = generateSchedule(name, sizes)
  const cut = inStages(evenRanks(work, plain.pipes))
  return { ...cut, plain: dealtOut(plain, cut.costs) }
}

interface Changes {
  readonly recompute: boolean
  readonly offload: boolean
}

/** Where copies stand is not planned for what was measured, as a job does not either. */
function changed(schedule: Schedule, changes: Changes): Schedule {
  if (changes.recompute) return recompute(schedule)
  return changes.offload ? offloadActivations(schedule, usualCopyCosts) : schedule
}

/** The schedule as it is and with each change; or why it is none that a job would be given. */
function candidatesOf(one: Alternative, options: PlanOptions): readonly Candidate[] | string {
  const made = preparedOrReason(one, options)
  if (typeof made === 'string') return made
  const { plain, stages, costs, vocabulary } = made
  if (plain.updates === 'microbatch')
    return 'it updates after every microbatch: what is learned is not what one process would'
  if (plain.paths !== undefined) return 'microbatches leave stages out: what is learned is not what one process would'
  const variants: readonly Changes[] = [
    { recompute: false, offload: false },
    { recompute: true, offload: false },
    ...(options.machine.copyBytesPerMs === undefined ? [] : [{ recompute: false, offload: true }]),
  ]
  const found = variants.map((changes): Candidate => {
    const schedule = changed(plain, changes)
    const simulation = simulate(schedule, costs)
    const memory = memoryOf(schedule, simulation.ops, stages, vocabulary)
    return {
      ...one,
      ...changes,
      ...(one.cap === undefined && one.vocabulary === undefined ? {} : { costs }),
      stageUnits: stages.counts,
      ...timesOf(schedule, costs, simulation, options),
      memory,
      peakBytes: Math.max(...memory.map(({ total }) => total)),
    }
  })
  // A change costs time: it is for those whom it spares memory.
  const plainBytes = found[0]?.peakBytes as number
  return found.filter(({ recompute, offload, peakBytes }) => (!recompute && !offload) || peakBytes < plainBytes)
}

/** Or why the vocabulary cannot be dealt out. */
function preparedOrReason(one: Alternative, options: PlanOptions): ReturnType<typeof prepared> | string {
  if (one.vocabulary === undefined) return prepared(one, options)
  try {
    return prepared(one, options)
  } catch (error) {
    const isRefusal = error instanceof SkeinError && shardRefusals.has(error.code)
    if (isRefusal) return error.why ?? error.what
    throw error
  }
}

const shardRefusals: ReadonlySet<string> = new Set([ScheduleErrors.OPTIONS.code, ScheduleErrors.INVALID.code])

function timesOf(
  schedule: Schedule,
  costs: Costs,
  { makespan, busy }: Simulation,
  { barrier = true, jitter }: PlanOptions,
): Pick<Candidate, 'stepMs' | 'p90Ms' | 'bubble'> {
  const stepMs = barrier ? makespan : steadyPeriod(schedule, costs)
  const work = busy.reduce((sum, time) => sum + time, 0) / schedule.ranks
  const times = { stepMs, bubble: 1 - work / stepMs }
  if (jitter === undefined) return times
  const samples = Array.from({ length: jitter.samples }, (_, sample) => {
    const stretch = stretchOf(jitter, sample)
    return barrier ? simulate(schedule, costs, { stretch }).makespan : steadyPeriod(schedule, costs, 6, { stretch })
  })
  return { ...times, p90Ms: p90(samples) }
}

/** Of the searched schedules only those for which more memory buys time. */
function withoutDominated(all: readonly Candidate[]): readonly Candidate[] {
  // Sums in another order differ in their last bits.
  const most = (value: number) => value * (1 + 1e-9)
  const isBetter = (a: Candidate, b: Candidate) =>
    a.peakBytes <= most(b.peakBytes) && a.stepMs <= most(b.stepMs) && (a.p90Ms ?? 0) <= most(b.p90Ms ?? 0)
  return all.filter((one, index) => {
    if (one.cap === undefined) return true
    return !all.some(
      (other, at) => other.cap !== undefined && isBetter(other, one) && (at < index || !isBetter(one, other)),
    )
  })
}

/** "interleaved with 2 chunks, recomputed", for messages. */
export function describeCandidate(one: Alternative & Partial<Changes>): string {
  const parts = [
    one.name,
    ...(one.cap === undefined ? [] : [`for ${one.cap} microbatches held`]),
    ...(one.chunks > 1 ? [`with ${one.chunks} stages a rank`] : []),
    ...(one.slices > 1 ? [`in ${one.slices} slices`] : []),
    ...(one.vocabulary === undefined ? [] : ['with a sharded vocabulary']),
    ...(one.recompute === true ? ['recomputing'] : []),
    ...(one.offload === true ? ['with activations on the host'] : []),
  ]
  return parts.join(' ')
}

function nothingFits(memoryBytes: number, smallest: Candidate): SkeinError {
  const most = smallest.memory.reduce((a, b) => (b.total > a.total ? b : a))
  const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`
  return new SkeinError(PlannerErrors.NOTHING_FITS, {
    what: `no schedule of ${smallest.memory.length} ranks fits in ${mib(memoryBytes)} a rank`,
    why: `the smallest, ${describeCandidate(smallest)}, needs ${mib(smallest.peakBytes)}: ${mib(most.state)} of parameters, gradients and moments, ${mib(most.activations)} of activations, ${mib(most.messages)} of messages`,
    todo: `allow ${Math.ceil(smallest.peakBytes)} bytes, cut the model in more parts, or take smaller microbatches`,
    details: {
      memoryBytes,
      leastBytes: Math.ceil(smallest.peakBytes),
      schedule: smallest.name,
      recompute: smallest.recompute,
      offload: smallest.offload,
      chunks: smallest.chunks,
    },
  })
}

function noSchedule({ ranks, microbatches }: PlanOptions, refused: readonly Refusal[]): SkeinError {
  return new SkeinError(PlannerErrors.NO_SCHEDULE, {
    what: `none of the schedules asked for is there for ${ranks} ranks and ${microbatches} microbatches`,
    why: refused.map(one => `${describeCandidate(one)}: ${one.reason}`).join('; ') || 'no known name is among them',
    todo: 'take other numbers, or leave the names out',
    details: { ranks, microbatches },
  })
}

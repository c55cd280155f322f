import {
  type ComputeOp,
  type CopyOp,
  isCompute,
  isFill,
  isVocabulary,
  rankOf,
  type Schedule,
  type ScheduleOp,
  stageAlong,
  type VocabularyOp,
} from './schedule.ts'

/** Times of one microbatch. */
export interface PassTimes {
  readonly forward: number
  readonly inputGrad: number
  readonly weightGrad: number
  /** Both gradients in one pass; default their sum. */
  readonly backward?: number
  /** The forward run again; default as long as the first time. */
  readonly recompute?: number
  /** Of what it keeps of a microbatch, to the host or back; default 0. */
  readonly copy?: number
}

export interface LinkTimes {
  /** From the end of an op until its result is on another rank; default 0. */
  readonly hop?: number
  /** How long a result holds the link, and so delays the next one on it; default 0. */
  readonly linkBusy?: number
}

/** Times of a rank's part of the vocabulary, of one microbatch. */
export interface VocabularyTimes {
  /** E */
  readonly lookup: number
  /** S */
  readonly logits: number
  /** T */
  readonly gradients: number
  /** G */
  readonly lookupGrad: number
}

/** What things take, in any one unit of time. Of one microbatch on the stages of one rank: a chunk or slice takes its part of it. */
export interface Costs extends PassTimes, LinkTimes {
  /** Of each stage by itself, where they differ: the passes then take these, and none of the above. */
  readonly stages?: readonly PassTimes[]
  /** Of the link from each rank to each, where they differ: `[from][to]`. */
  readonly links?: readonly (readonly LinkTimes[])[]
  /** Device time of a message on the rank that sends it, and on the one that takes it; default 0. */
  readonly message?: number
  /** Whether a copy to the host or back keeps the device from computing; default: it runs beside it. */
  readonly copyHoldsDevice?: boolean
  /** Device time that every op takes whatever it does; default 0. */
  readonly dispatch?: number
  /** Per stage how much more than the mean it takes; default 1 each. */
  readonly stageWeights?: readonly number[]
  /** Where the vocabulary is dealt out over the ranks; default: its passes take no time. */
  readonly vocabulary?: VocabularyTimes
  /** Of each frozen layer, on the samples of one microbatch: a piece takes its part of it. Default: there are none. */
  readonly frozen?: readonly number[]
  /** Per slice of the sequence its part of the compute time, 1 in all; default equal. */
  readonly sliceParts?: readonly number[]
}

/** All three passes alike, and nothing else costs anything: what the papers draw. The two of a sharded vocabulary's head are alike too. */
export const unitCosts: Costs = {
  forward: 1,
  inputGrad: 1,
  weightGrad: 1,
  vocabulary: { lookup: 0, logits: 1, gradients: 1, lookupGrad: 0 },
}

/** Whether each of the three passes takes one unit: what closed forms without costs in them assume. */
export function isUnit({ forward, inputGrad, weightGrad }: Costs): boolean {
  return forward === 1 && inputGrad === 1 && weightGrad === 1
}

/** Time of all work on one microbatch on one rank. */
export function workOf({ forward, inputGrad, weightGrad }: Costs): number {
  return forward + inputGrad + weightGrad
}

/** How long an op holds the device. */
export function durationOf(schedule: Schedule, op: ScheduleOp, costs: Costs): number {
  const { dispatch = 0, message = 0 } = costs
  if (isVocabulary(op)) return vocabularyTime(op, costs) + dispatch
  if (isFill(op)) return (costs.frozen?.[op.layer] ?? 0) / (schedule.frozen?.cuts ?? 1) + dispatch
  if (!isCompute(op)) return 0
  const part = (costs.sliceParts?.[op.slice ?? 0] ?? 1 / schedule.slices) * (costs.stageWeights?.[op.stage] ?? 1)
  const own = costs.stages?.[op.stage]
  const pass = own === undefined ? (passTime(op, costs) * schedule.ranks) / schedule.stages : passTime(op, own)
  return pass * part + dispatch + (message === 0 ? 0 : message * messagesOf(schedule, op))
}

/** How long the copy of a piece to the host, or back, takes. */
export function copyTimeOf(schedule: Schedule, op: Pick<CopyOp, 'stage' | 'share'>, costs: Costs): number {
  const own = costs.stages?.[op.stage]
  const whole = own === undefined ? ((costs.copy ?? 0) * schedule.ranks) / schedule.stages : (own.copy ?? 0)
  return (whole * (op.share ?? 1)) / schedule.slices
}

export function linkOf(costs: Costs, from: number, to: number): LinkTimes {
  return costs.links?.[from]?.[to] ?? costs
}

/** Messages that an op takes and sends. */
function messagesOf(schedule: Schedule, { op, stage, microbatch }: ComputeOp): number {
  if (op === 'W' || op === 'R') return 0
  const rank = rankOf(schedule, stage, microbatch)
  const isAway = (by: number) => {
    const other = stageAlong(schedule, stage, microbatch, by)
    return other !== undefined && rankOf(schedule, other, microbatch) !== rank
  }
  return Number(isAway(-1)) + Number(isAway(+1))
}

function vocabularyTime({ op }: VocabularyOp, { vocabulary }: Costs): number {
  if (vocabulary === undefined) return 0
  switch (op) {
    case 'E':
      return vocabulary.lookup
    case 'S':
      return vocabulary.logits
    case 'T':
      return vocabulary.gradients
    case 'G':
      return vocabulary.lookupGrad
  }
}

function passTime({ op }: ComputeOp, costs: PassTimes): number {
  switch (op) {
    case 'F':
      return costs.forward
    case 'R':
      return costs.recompute ?? costs.forward
    case 'B':
      return costs.inputGrad
    case 'W':
      return costs.weightGrad
    case 'BW':
      return costs.backward ?? costs.inputGrad + costs.weightGrad
  }
}

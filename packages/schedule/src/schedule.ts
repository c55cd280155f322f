/**
 * F forward · B input gradient · W weight gradient · BW both in one · R forward again, from the stage's kept input (recomputation).
 * All of them hold the device from start to end.
 */
export type ComputeKind = 'F' | 'B' | 'W' | 'BW' | 'R'

export interface ComputeOp {
  readonly op: ComputeKind
  readonly stage: number
  readonly microbatch: number
  /** Piece of the sequence, where the schedule cuts it; absent: the first. */
  readonly slice?: number
}

/**
 * Passes of a vocabulary whose rows are dealt out over all ranks, each on every rank: E looks tokens up in the rank's rows, and the first
 * stage takes the sum; S makes the logits of these rows from what the last stage gave, with their maxima and sums; T, once those of all ranks
 * are known, makes the rank's part of the gradient of what the last stage gave, and the gradient of the rows; G adds that of the look-up.
 * They hold the device like any other, and belong to no stage.
 */
export type VocabularyKind = 'E' | 'S' | 'T' | 'G'

export interface VocabularyOp {
  readonly op: VocabularyKind
  readonly microbatch: number
}

/**
 * A tensor between this rank's `stage` and the stage before or after it on the microbatch's path. Generators never write these:
 * `lower` does. Matched by stage, microbatch and slice, never by order of arrival. A receive is posted; its consumer waits for it.
 */
export interface TransferOp {
  readonly op: 'sendActivation' | 'recvActivation' | 'sendGradient' | 'recvGradient'
  readonly stage: number
  readonly microbatch: number
  readonly slice?: number
  readonly peer: number
}

/** The copy of an activation to the host begins, which frees it on the device; or back. `share` of it, default all. */
export interface CopyOp {
  readonly op: 'offload' | 'reload'
  readonly stage: number
  readonly microbatch: number
  readonly slice?: number
  readonly share?: number
}

/** Sharded weights: gathered from and dropped again to their owners, gradients reduced to them. */
export interface WeightOp {
  readonly op: 'gather' | 'release' | 'reduce'
  readonly stage: number
}

/**
 * The optimizer on all stages of the rank. `validate` confirms the update of step `step` (relative: -1 is the one before this) once
 * the global state is known, or rolls it back. Absent: 0, this step.
 */
export interface UpdateOp {
  readonly op: 'update' | 'validate'
  readonly step?: number
}

/**
 * A layer of the frozen part of the model on a piece of the next step's samples: nothing of this step waits for it. It holds the device; what the last
 * layer makes goes to the rank of the first stage.
 */
export interface FillOp {
  readonly op: 'fill'
  readonly layer: number
  readonly piece: number
}

/** The part of the model in front of the first stage that is not trained. */
export interface Frozen {
  readonly layers: number
  /** Pieces that a microbatch's samples are cut into. */
  readonly cuts: number
  /** Microbatches that a piece is ahead of the one that takes it: those of a step. */
  readonly lead: number
}

export type ScheduleOp = ComputeOp | VocabularyOp | TransferOp | CopyOp | WeightOp | UpdateOp | FillOp

/** A pipeline schedule: per rank the ordered list of what it does in one optimizer step. */
export interface Schedule {
  /** The rule that made it, as in 'zb-h1'. */
  readonly name: string
  readonly ranks: number
  /** Pieces of the model. Each rank holds stages / ranks of them in every pipe. */
  readonly stages: number
  readonly microbatches: number
  /** Pieces of the sequence; later ones read the keys and values of earlier ones. */
  readonly slices: number
  /** Per pipe the rank of each stage. One pipe, or two where microbatches run in both directions over two copies of the weights. */
  readonly pipes: readonly (readonly number[])[]
  /** Pipe of each microbatch; absent: all take the first. */
  readonly pipeOf?: readonly number[]
  /** Stages that each microbatch visits, in order; absent: all of them, in order. */
  readonly paths?: readonly (readonly number[])[]
  readonly ops: readonly (readonly ScheduleOp[])[]
  /**
   * Per rank the most activations held at once that the rule promises, in units of one microbatch on the stages of one rank.
   * Walked over the list: a copy counts as done where it stands.
   */
  readonly promise?: readonly number[]
  /** 'step': one update, after all gradients. 'microbatch': after each (asynchronous). 'validated': before the global state is known. */
  readonly updates: 'step' | 'microbatch' | 'validated'
  /** 'sharded': look-up and logits are passes of all ranks, beside the stages. Absent: the first and the last stage do them. */
  readonly vocabulary?: 'sharded'
  /** Where idle time makes what the next step's first stage takes. */
  readonly frozen?: Frozen
}

export function isCompute(op: ScheduleOp): op is ComputeOp {
  return op.op === 'F' || op.op === 'B' || op.op === 'W' || op.op === 'BW' || op.op === 'R'
}

export function isVocabulary(op: ScheduleOp): op is VocabularyOp {
  return op.op === 'E' || op.op === 'S' || op.op === 'T' || op.op === 'G'
}

export function isFill(op: ScheduleOp): op is FillOp {
  return op.op === 'fill'
}

export function isTransfer(op: ScheduleOp): op is TransferOp {
  return 'peer' in op
}

export function isCopy(op: ScheduleOp): op is CopyOp {
  return op.op === 'offload' || op.op === 'reload'
}

type Layout = Pick<Schedule, 'ranks' | 'stages' | 'pipes' | 'pipeOf' | 'paths'>

export function pipeOf(schedule: Layout, microbatch: number): number {
  return schedule.pipeOf?.[microbatch] ?? 0
}

export function rankOf(schedule: Layout, stage: number, microbatch: number): number {
  return schedule.pipes[pipeOf(schedule, microbatch)]?.[stage] as number
}

/** Stages on each rank and pipe: the share of the model that a stage is of a rank's. */
export function chunksPerRank({ ranks, stages }: Pick<Schedule, 'ranks' | 'stages'>): number {
  return stages / ranks
}

/** Which of its rank's stages this one is, from 0; those of the second pipe follow those of the first. */
export function chunkOf(schedule: Layout, stage: number, microbatch: number): number {
  const pipe = pipeOf(schedule, microbatch)
  const places = schedule.pipes[pipe] ?? []
  const before = places.slice(0, stage).filter(rank => rank === places[stage]).length
  return pipe * chunksPerRank(schedule) + before
}

/** The stage that comes `by` after (before, if negative) this one on the path of a microbatch. */
export function stageAlong(schedule: Layout, stage: number, microbatch: number, by: number): number | undefined {
  const path = schedule.paths?.[microbatch]
  if (path !== undefined) return path[path.indexOf(stage) + by]
  const there = stage + by
  return there >= 0 && there < schedule.stages ? there : undefined
}

/** "F of stage 2, microbatch 5", for messages. */
export function describeOp(op: ScheduleOp): string {
  if (isVocabulary(op)) return `${op.op} of microbatch ${op.microbatch}`
  if (isFill(op)) return `fill of frozen layer ${op.layer}, piece ${op.piece}`
  if ('microbatch' in op) {
    const slice = op.slice === undefined ? '' : `, slice ${op.slice}`
    const peer = !isTransfer(op) ? '' : op.op.startsWith('send') ? ` to rank ${op.peer}` : ` from rank ${op.peer}`
    return `${op.op} of stage ${op.stage}, microbatch ${op.microbatch}${slice}${peer}`
  }
  if ('stage' in op) return `${op.op} of stage ${op.stage}`
  return op.step === undefined ? op.op : `${op.op} of step ${op.step}`
}

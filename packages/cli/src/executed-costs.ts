import {
  type ComputeKind,
  type Costs,
  isCompute,
  isCopy,
  type Schedule,
  type ScheduleOp,
  type TimedOp,
  type VocabularyKind,
} from '@skein/schedule'

/**
 * What the passes and copies of each stage took, in the middle of those executed; those of a sharded vocabulary on all ranks alike. The executor
 * copies on the thread that computes.
 */
export function executedCosts(schedule: Schedule, timed: readonly TimedOp[]): Costs {
  const middle = (fits: (op: ScheduleOp) => boolean): number => {
    const times = timed.filter(({ op }) => fits(op)).map(({ start, end }) => end - start)
    const sorted = times.sort((a, b) => a - b)
    return sorted[sorted.length >> 1] ?? 0
  }
  const pass = (stage: number, kind: ComputeKind) =>
    middle(op => isCompute(op) && op.op === kind && op.stage === stage) * schedule.slices
  const stages = Array.from({ length: schedule.stages }, (_, stage) => ({
    forward: pass(stage, 'F'),
    inputGrad: pass(stage, 'B'),
    weightGrad: pass(stage, 'W'),
    backward: pass(stage, 'BW'),
    recompute: pass(stage, 'R'),
    copy: middle(op => isCopy(op) && op.stage === stage) * schedule.slices,
  }))
  const shard = (kind: VocabularyKind) => middle(op => op.op === kind)
  const vocabulary = { lookup: shard('E'), logits: shard('S'), gradients: shard('T'), lookupGrad: shard('G') }
  return {
    forward: 0,
    inputGrad: 0,
    weightGrad: 0,
    copyHoldsDevice: true,
    stages,
    ...(schedule.vocabulary === undefined ? {} : { vocabulary }),
  }
}

import {
  type ComputeOp,
  describeOp,
  isCompute,
  isVocabulary,
  type Schedule,
  type ScheduleOp,
  type VocabularyKind,
} from './schedule.ts'

export const vocabularyKinds: readonly VocabularyKind[] = ['E', 'S', 'T', 'G']

/** Why the vocabulary of such a schedule cannot be dealt out over its ranks: its passes are those of whole microbatches on one pipe. */
export function findUnshardable({ pipes, slices, paths, updates }: Omit<Schedule, 'ops'>): string | undefined {
  if (pipes.length > 1) return 'its microbatches run in two directions, over two copies of the first and the last stage'
  if (slices > 1) return 'the sequence is sliced'
  if (paths !== undefined) return 'its microbatches take paths of their own'
  return updates === 'step' ? undefined : 'its weights change before all gradients of the step are there'
}

/** A pass that a rank does not do. (One of a schedule whose vocabulary is whole is malformed, one that is there twice is doubled.) */
export function findShardsMissing(schedule: Schedule): string | undefined {
  if (schedule.vocabulary === undefined) return undefined
  for (const [rank, list] of schedule.ops.entries()) {
    const has = new Set(list.filter(isVocabulary).map(describeOp))
    for (let microbatch = 0; microbatch < schedule.microbatches; microbatch++) {
      const missing = vocabularyKinds.find(op => !has.has(describeOp({ op, microbatch })))
      if (missing !== undefined) return `rank ${rank} never does "${describeOp({ op: missing, microbatch })}"`
    }
  }
  return undefined
}

/**
 * Passes of a kind that do not go up by microbatch: what is summed over ranks, or sent to all, is matched by its order. So are those passes
 * of the first and the last stage that take of it or give to it.
 */
export function findShardsOutOfOrder(schedule: Schedule, list: readonly ScheduleOp[]): string | undefined {
  if (schedule.vocabulary === undefined) return undefined
  const newest = new Map<string, number>()
  const done = new Set<string>()
  for (const op of list) {
    const isShard = isVocabulary(op)
    if (!isShard && !(isCompute(op) && meetsShards(schedule, op))) continue
    const key = isShard ? op.op : `${op.op === 'F' ? 'F' : 'B'} ${op.stage}`
    const before = newest.get(key) ?? -1
    if (op.microbatch < before) return `"${describeOp(op)}" stands after that of microbatch ${before}`
    newest.set(key, op.microbatch)
    if (op.op === 'T' && !done.has(describeOp({ ...op, op: 'S' }))) {
      return `"${describeOp(op)}" stands before "${describeOp({ ...op, op: 'S' })}"`
    }
    if (isShard) done.add(describeOp(op))
  }
  return undefined
}

const meetsShards = ({ stages }: Schedule, { op, stage }: ComputeOp) =>
  (op === 'F' || op === 'B' || op === 'BW') && (stage === 0 || stage === stages - 1)

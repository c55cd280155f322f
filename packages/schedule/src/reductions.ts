import { isVocabulary, type Schedule, type ScheduleOp } from './schedule.ts'

/**
 * The schedule with the sum over all copies of a stage's weights written out: `reduce` right after the last weight gradient of the stage on its
 * rank, so that it travels while the device does what is left. `stages`: those that other ranks hold too; default all.
 *
 * Where the vocabulary is sharded, the stage that ends last on its rank is reduced after the rank's last pass of the vocabulary: once all its
 * stages are, so is its part of the vocabulary.
 */
export function withReductions(schedule: Schedule, stages?: ReadonlySet<number>): Schedule {
  const ops = schedule.ops.map(list => {
    const last = new Map<number, number>()
    for (const [index, op] of list.entries()) if (op.op === 'W' || op.op === 'BW') last.set(op.stage, index)
    const shard = list.findLastIndex(isVocabulary)
    const [latest] = [...last].sort(([, a], [, b]) => b - a)[0] ?? []
    if (latest !== undefined) last.set(latest, Math.max(shard, last.get(latest) as number))
    return list.flatMap((op, index): ScheduleOp[] => {
      const ended = [...last.keys()].filter(stage => last.get(stage) === index && stages?.has(stage) !== false)
      return [op, ...ended.map((stage): ScheduleOp => ({ op: 'reduce', stage }))]
    })
  })
  return { ...schedule, ops }
}

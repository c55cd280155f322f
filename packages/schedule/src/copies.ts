import { describeOp, isCopy, isVocabulary, type Schedule } from './schedule.ts'

/** An activation that is used while it is on the host, comes back in part or never, or comes back and never went. */
export function findAstray(schedule: Schedule): string | undefined {
  for (const [rank, list] of schedule.ops.entries()) {
    /** By piece the share that is on the host. */
    const away = new Map<string, number>()
    for (const op of list) {
      if (!('microbatch' in op) || isVocabulary(op)) continue
      const piece = `${op.stage} ${op.microbatch} ${op.slice ?? 0}`
      const gone = away.get(piece)
      if (isCopy(op)) {
        const share = op.share ?? 1
        if (!(share > 0 && share <= 1)) return `rank ${rank} has "${describeOp(op)}" with a share of ${share}`
        if (op.op === 'offload') away.set(piece, share)
        else if (gone !== share)
          return `rank ${rank} has "${describeOp(op)}" of ${share}, and ${gone ?? 0} is on the host`
        else away.delete(piece)
      } else if (gone !== undefined && op.op !== 'F' && !('peer' in op)) {
        return `rank ${rank} has "${describeOp(op)}" while what it reads is on the host`
      }
    }
    if (away.size > 0) return `rank ${rank} leaves ${away.size} activations on the host`
  }
  return undefined
}

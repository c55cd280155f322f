import type { ScheduleOp } from './schedule.ts'

/** Every BW as its B, and the W of the microbatch `lag` before it right after: the way of the zero-bubble schedules by hand. */
export function withLag(list: readonly ScheduleOp[], lag: number): readonly ScheduleOp[] {
  const waiting: ScheduleOp[] = []
  const out = list.flatMap((op): ScheduleOp[] => {
    if (op.op !== 'BW') return [op]
    waiting.push({ ...op, op: 'W' })
    const due = waiting.length > lag ? waiting.splice(0, 1) : []
    return [{ ...op, op: 'B' }, ...due]
  })
  return [...out, ...waiting]
}

import { type Schedule, type ScheduleOp } from './schedule.ts'

/** What an op adds to the activations held on its rank as it starts, and what it frees as it ends. */
export interface Holding {
  readonly takes: number
  readonly frees: number
}

/**
 * Activations by op, in units of one microbatch on the stages of one rank: a forward takes its part and the weight gradient frees
 * it. Where the forward is run again only the second run keeps anything (the stage's input is not counted), and what is copied to
 * the host is free once it is there.
 */
export function holdingsOf(schedule: Schedule): (op: ScheduleOp) => Holding {
  const part = schedule.ranks / (schedule.stages * schedule.slices)
  const recomputed = new Set<string>()
  for (const op of schedule.ops.flat()) if (op.op === 'R') recomputed.add(pieceKey(op))
  return op => {
    switch (op.op) {
      case 'F':
        return { takes: recomputed.has(pieceKey(op)) ? 0 : part, frees: 0 }
      case 'R':
        return { takes: part, frees: 0 }
      case 'W':
      case 'BW':
        return { takes: 0, frees: part }
      case 'offload':
        return { takes: 0, frees: part * (op.share ?? 1) }
      case 'reload':
        return { takes: part * (op.share ?? 1), frees: 0 }
      default:
        return { takes: 0, frees: 0 }
    }
  }
}

/** Most activations that each rank holds at once, walked over its list. */
export function peakActivations(schedule: Schedule): readonly number[] {
  const holding = holdingsOf(schedule)
  return schedule.ops.map(ops => {
    let held = 0
    let peak = 0
    for (const op of ops) {
      const { takes, frees } = holding(op)
      held += takes
      peak = Math.max(peak, held)
      held -= frees
    }
    return rounded(peak)
  })
}

/** Sums of thirds and the like, without the noise of adding them up. */
export function rounded(value: number): number {
  return Math.round(value * 1e9) / 1e9
}

function pieceKey({ stage, microbatch, slice = 0 }: { stage: number; microbatch: number; slice?: number }): string {
  return `${stage} ${microbatch} ${slice}`
}

import { type Schedule, type ScheduleOp } from './schedule.ts'

/** What an op adds to the activations held on its rank as it starts, and what it frees as it ends. */
export interface Holding {
  readonly takes: number
  readonly frees: number
}

/** By stage, what it keeps of a microbatch. */
export interface Kept {
  /** From the forward until the weight gradient. */
  readonly activations: readonly number[]
  /** What of that is its input. */
  readonly inputs: readonly number[]
  /**
   * Beside it from the input gradient until the weight gradient, where these are passes of their own; below zero where the input gradient
   * frees more than it adds. Default none.
   */
  readonly gradients?: readonly number[]
  /**
   * What of the activations slices of a sequence read of one another, keys and values say: there from a slice's forward until its gradient, whatever
   * is dropped or copied. The gradients of those of earlier slices are as many bytes. Nothing where there is one slice. Default none.
   */
  readonly shared?: readonly number[]
  /** Where the vocabulary is sharded: what each rank keeps of a microbatch from S to T. Default none. */
  readonly vocabulary?: number
}

/**
 * Activations by op, in units of one microbatch on the stages of one rank, or as `kept` says (bytes, say): a forward takes its part and
 * the weight gradient frees it. Where the forward is run again the first run keeps the stage's input alone (without `kept` it is
 * not counted), and what is copied to the host is free once it is there; but for what slices share.
 */
export function holdingsOf(schedule: Schedule, kept?: Kept): (op: ScheduleOp) => Holding {
  const { ranks, stages, slices } = schedule
  const wholeOf = (stage: number) => (kept === undefined ? ranks / stages : (kept.activations[stage] ?? 0)) / slices
  const inputOf = (stage: number) => (kept?.inputs[stage] ?? 0) / slices
  const gradientOf = (stage: number) => (kept?.gradients?.[stage] ?? 0) / slices
  const sharedOf = (stage: number) => (slices === 1 ? 0 : (kept?.shared?.[stage] ?? 0)) / slices
  /** What the forward leaves, beside what slices share. */
  const leftOf = (op: Piece) =>
    recomputed.has(pieceKey(op)) ? inputOf(op.stage) : wholeOf(op.stage) - sharedOf(op.stage)
  /** The last slice, whose gradient comes first, makes the gradients of what all others share; each of these uses its own up. */
  const forOthers = ({ stage, slice = 0 }: Piece): Holding =>
    slice === slices - 1 ? { takes: (slices - 1) * sharedOf(stage), frees: 0 } : { takes: 0, frees: sharedOf(stage) }
  const recomputed = new Set<string>()
  for (const op of schedule.ops.flat()) if (op.op === 'R') recomputed.add(pieceKey(op))
  return op => {
    switch (op.op) {
      case 'F':
        return { takes: leftOf(op) + sharedOf(op.stage), frees: 0 }
      case 'R':
        return { takes: wholeOf(op.stage) - sharedOf(op.stage) - inputOf(op.stage), frees: 0 }
      case 'B': {
        const { takes, frees } = forOthers(op)
        const gradient = gradientOf(op.stage)
        return { takes: takes + Math.max(0, gradient), frees: frees + Math.max(0, -gradient) }
      }
      case 'W':
        return { takes: 0, frees: wholeOf(op.stage) + gradientOf(op.stage) }
      case 'BW': {
        const { takes, frees } = forOthers(op)
        return { takes, frees: frees + wholeOf(op.stage) }
      }
      case 'offload':
        return { takes: 0, frees: leftOf(op) * (op.share ?? 1) }
      case 'reload':
        return { takes: leftOf(op) * (op.share ?? 1), frees: 0 }
      case 'S':
        return { takes: kept?.vocabulary ?? 0, frees: 0 }
      case 'T':
        return { takes: 0, frees: kept?.vocabulary ?? 0 }
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

interface Piece {
  readonly stage: number
  readonly microbatch: number
  readonly slice?: number
}

function pieceKey({ stage, microbatch, slice = 0 }: Piece): string {
  return `${stage} ${microbatch} ${slice}`
}

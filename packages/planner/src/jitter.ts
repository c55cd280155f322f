import { mixKeys, seededRandom } from '@skein/core'
import { isVocabulary, type ScheduleOp } from '@skein/schedule'

export interface Jitter {
  /** Standard deviation of the time of a pass, over its mean. */
  readonly spread: number
  readonly samples: number
  readonly seed: number
}

const kinds = ['F', 'B', 'W', 'BW', 'R', 'offload', 'reload', 'E', 'S', 'T', 'G']

/**
 * By how much more than its mean a pass takes in one sample: lognormal, of mean 1. The same pass takes the same in whatever schedule it
 * stands, so that schedules are compared by what they are and not by luck.
 */
export function stretchOf({ spread, seed }: Jitter, sample: number): (op: ScheduleOp) => number {
  return op => {
    if (!('microbatch' in op)) return 1
    const place = isVocabulary(op) ? [0, op.microbatch, 0] : [op.stage, op.microbatch, op.slice ?? 0]
    const keys = [seed, sample, kinds.indexOf(op.op), ...place]
    return Math.exp(spread * seededRandom(mixKeys(...keys)).nextNormal() - spread ** 2 / 2)
  }
}

/** The least value that nine in ten do not exceed. */
export function p90(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.ceil(0.9 * values.length) - 1] as number
}

import type { Sizes } from './family.ts'
import type { ComputeOp, Schedule, ScheduleOp } from './schedule.ts'

/** A schedule for such sizes from what each rank computes; the update ends each list. */
export function scheduleOf(
  name: string,
  { ranks, microbatches }: Pick<Sizes, 'ranks' | 'microbatches'>,
  parts: {
    readonly pipes: Schedule['pipes']
    readonly lists: readonly (readonly ScheduleOp[])[]
    readonly slices?: number
    readonly pipeOf?: readonly number[]
    readonly paths?: NonNullable<Schedule['paths']>
    readonly promise?: readonly number[] | undefined
  },
): Schedule {
  const { lists, promise, slices = 1, ...layout } = parts
  return {
    name,
    ranks,
    stages: layout.pipes[0]?.length ?? 0,
    microbatches,
    slices,
    ...layout,
    ops: lists.map(list => [...list, { op: 'update' }]),
    ...(promise === undefined ? {} : { promise }),
    updates: 'step',
  }
}

/** 0 … count-1. */
export function upTo(count: number): readonly number[] {
  return Array.from({ length: count }, (_, i) => i)
}

/** One pass over every microbatch at one stage. */
export function eachMicrobatch(op: ComputeOp['op'], stage: number, microbatches: number): readonly ComputeOp[] {
  return upTo(microbatches).map(microbatch => ({ op, stage, microbatch }))
}

/** The shape of most schedules: forwards to fill the pipe, then one forward and one backward in turn, then the backwards left. */
export function alternate(
  forwards: readonly ComputeOp[],
  backwards: readonly ComputeOp[],
  warmUp: number,
): readonly ComputeOp[] {
  const fill = Math.min(warmUp, forwards.length)
  const turns = forwards.slice(fill).flatMap((forward, i) => [forward, ...backwards.slice(i, i + 1)])
  return [...forwards.slice(0, fill), ...turns, ...backwards.slice(forwards.length - fill)]
}

/** Messages of a pipe with so many borders between ranks: an activation and a gradient for each microbatch. */
export function messagesOver(borders: number, microbatches: number): number {
  return 2 * borders * microbatches
}

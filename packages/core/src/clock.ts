/** Milliseconds of a monotonic clock; differences mean something, absolute values do not. */
export type Ms = number

export interface Clock {
  now(): Ms
}

/** The process's monotonic clock. Wall-clock jumps do not reach it. */
export const systemClock: Clock = { now: () => performance.now() }

import { z } from 'zod'
import { count, ms } from './fields.ts'

/** Ops in the timeline of one step: what a list of many thousand microbatches has. */
export const maxTimedOps = 8192

/** One op of a pipeline's schedule as a device ran it; times in ms since the epoch by the worker's clock. */
export const timedOp = z.discriminatedUnion('op', [
  z.strictObject({
    op: z.enum(['F', 'B', 'W', 'BW', 'R', 'offload', 'reload']),
    stage: count,
    microbatch: count,
    slice: count.exactOptional(),
    start: ms,
    end: ms,
  }),
  /** Of a sharded vocabulary, which is beside the stages. */
  z.strictObject({ op: z.enum(['E', 'S', 'T', 'G']), microbatch: count, start: ms, end: ms }),
])
export type TimedOpRecord = z.infer<typeof timedOp>

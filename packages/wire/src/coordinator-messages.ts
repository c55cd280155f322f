import { z } from 'zod'
import { count, digest, errorRecord, json, laneAddress, name, path, rank, text, uint32, workerName } from './fields.ts'

export const coordinatorMessages = [
  /** The join is accepted. `job` is the resolved job; `resume` the checkpoint to load, seen from the coordinator's machine. */
  z.strictObject({
    type: z.literal('welcome'),
    runId: name,
    runDir: path,
    job: json,
    jobFile: path.exactOptional(),
    resume: path.exactOptional(),
  }),
  /** A membership. `startStep` is the last step already made; `laneToken` opens the lanes of this generation only. */
  z.strictObject({
    type: z.literal('generation'),
    generation: uint32,
    members: z
      .array(z.strictObject({ workerId: workerName, rank, lane: laneAddress }))
      .min(1)
      .max(4_096)
      .readonly(),
    laneToken: z.string().min(1).max(512),
    startStep: count,
  }),
  /** All are ready with one digest: train, from the step after `step`. */
  z.strictObject({ type: z.literal('start'), generation: uint32, step: count }),
  /** The commit record of `step` is durable. */
  z.strictObject({ type: z.literal('commit'), generation: uint32, step: count, digest }),
  /** Finish `afterStep`, write its checkpoint, report finished. */
  z.strictObject({ type: z.literal('stop'), generation: uint32, afterStep: count, reason: text }),
  /** The generation is over; end at once. */
  z.strictObject({ type: z.literal('abort'), generation: uint32, error: errorRecord }),
  /** The worker may not take part. */
  z.strictObject({ type: z.literal('refuse'), error: errorRecord }),
  /** Answer with a `flight`, at once. */
  z.strictObject({ type: z.literal('report-flight') }),
  /** The run is over; exit with status 0. */
  z.strictObject({ type: z.literal('finish') }),
] as const

export const coordinatorMessage = z.discriminatedUnion('type', coordinatorMessages)
export type CoordinatorMessage = z.infer<typeof coordinatorMessage>

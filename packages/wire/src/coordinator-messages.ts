import { z } from 'zod'
import {
  count,
  digest,
  errorRecord,
  json,
  laneAddress,
  name,
  part,
  parts,
  path,
  rank,
  text,
  uint32,
  workerName,
} from './fields.ts'

const generationMembers = z
  .array(z.strictObject({ workerId: workerName, rank, lane: laneAddress, share: count }))
  .min(1)
  .max(4_096)
  .readonly()

/** Whether this step is to be kept in memory, by whoever has it and by its neighbour. */
const mirror = z.literal(true).exactOptional()

export const coordinatorMessages = [
  /** The join is accepted. `job` is the resolved job. */
  z.strictObject({
    type: z.literal('welcome'),
    runId: name,
    runDir: path,
    job: json,
    jobFile: path.exactOptional(),
    maxWorkers: count,
  }),
  /**
   * A membership; every earlier one is over. `startStep` is the last step already made; `laneToken` opens the lanes of this generation
   * only; ranks are replicas of `parts` workers each, which hold a part of the model each; `origin` says where the state comes from (a checkpoint's path is seen from the coordinator's machine; of `copies`,
   * those of a mirror, where nobody trains that part); `mirrored` is the step whose copies are to be kept.
   */
  z.strictObject({
    type: z.literal('generation'),
    generation: uint32,
    parts,
    members: generationMembers,
    laneToken: z.string().min(1).max(512),
    startStep: count,
    origin: z.discriminatedUnion('kind', [
      z.strictObject({ kind: z.literal('initial') }),
      z.strictObject({ kind: z.literal('checkpoint'), path }),
      z.strictObject({
        kind: z.literal('members'),
        ranks: z.array(rank).min(1).max(4_096).readonly(),
        copies: z
          .array(z.strictObject({ part, ranks: z.array(rank).min(1).max(4_096).readonly() }))
          .max(4_096)
          .readonly()
          .exactOptional(),
      }),
    ]),
    mirrored: count.exactOptional(),
  }),
  /** For one who waits: these train and hold the state, of which it is to get `part`; `step` is their last commit. Answered by `caught-up`, also by a worker that gets the state only when it is taken in, or by `catch-up-failed`. */
  z.strictObject({
    type: z.literal('catch-up'),
    generation: uint32,
    parts,
    part,
    members: generationMembers,
    laneToken: z.string().min(1).max(512),
    step: count,
  }),
  /** All are ready, those of a part with one digest: train, from the step after `step`. */
  z.strictObject({ type: z.literal('start'), generation: uint32, step: count, mirror }),
  /** The commit record of `step` is durable. */
  z.strictObject({ type: z.literal('commit'), generation: uint32, step: count, digest, mirror }),
  /** Finish `afterStep`, write its checkpoint, report finished. */
  z.strictObject({ type: z.literal('stop'), generation: uint32, afterStep: count, reason: text }),
  /** Make no step after this one, and wait for the next generation, which goes on from it; the first replica takes it to disk where `save` says so. */
  z.strictObject({
    type: z.literal('regroup'),
    generation: uint32,
    afterStep: count,
    reason: text,
    save: z.boolean(),
  }),
  /** From `fromStep` on rank r takes `shares[r]` samples of each step. Nobody can have begun that step. */
  z.strictObject({
    type: z.literal('shares'),
    generation: uint32,
    fromStep: count,
    shares: z.array(count).min(1).max(4_096).readonly(),
  }),
  /** To rank 0, where the model is cut: all parts of the state after `step` are on disk, or not all will be. */
  z.strictObject({ type: z.literal('checkpoint-parts'), generation: uint32, step: count, isWhole: z.boolean() }),
  /** All keep their copies of this step: those of the one before may go. */
  z.strictObject({ type: z.literal('mirror-whole'), generation: uint32, step: count }),
  /** The generation is over; undo what is not committed and wait for the next one. */
  z.strictObject({ type: z.literal('abort'), generation: uint32, error: errorRecord }),
  /** This process may not take part; where the error's `retry` is "next-generation", it may as a new incarnation. */
  z.strictObject({ type: z.literal('refuse'), error: errorRecord }),
  /** Answer with a `flight`, at once. */
  z.strictObject({ type: z.literal('report-flight') }),
  /** The run has failed; exit with another status than 0. */
  z.strictObject({ type: z.literal('fail'), error: errorRecord }),
  /** The run, or this worker's part in it, is over; exit with status 0. */
  z.strictObject({ type: z.literal('finish') }),
] as const

export const coordinatorMessage = z.discriminatedUnion('type', coordinatorMessages)
export type CoordinatorMessage = z.infer<typeof coordinatorMessage>

import { z } from 'zod'
import {
  count,
  digest,
  errorRecord,
  heldStates,
  keptSteps,
  laneAddress,
  loss,
  ms,
  name,
  path,
  rank,
  text,
  uint32,
  workerName,
} from './fields.ts'
import { flightOp, maxFlightOps } from './flight-op.ts'
import { maxTimedOps, timedOp } from './timed-op.ts'

/** Version of the control protocol; `join` carries it and membership refuses another. */
export const protocolVersion = 7

export const workerMessages = [
  /** First message on a control link. `lane` is where peers dial for tensor lanes. */
  z.strictObject({
    type: z.literal('join'),
    workerId: workerName,
    incarnation: workerName,
    protocol: uint32,
    lane: laneAddress,
    pid: count,
    device: z.strictObject({ backend: name, version: name, threads: count }),
    /** What it kept of its former part in the run. */
    holds: heldStates,
    keeps: keptSteps,
  }),
  /** Model and data are open. */
  z.strictObject({ type: z.literal('loaded'), dataFingerprint: name, numParams: count }),
  /** The answer to `catch-up`: what is held now of what that generation has committed. */
  z.strictObject({ type: z.literal('caught-up'), generation: uint32, holds: heldStates }),
  /** The other answer: no state comes from the members of this generation. May be followed by `caught-up` all the same. */
  z.strictObject({ type: z.literal('catch-up-failed'), generation: uint32, error: errorRecord }),
  /** The state after the generation's `startStep` is here and every lane is open. `digest` is of the parameters of its part. */
  z.strictObject({ type: z.literal('ready'), generation: uint32, digest }),
  /** The end of one step here. `digest` is of the parameters of its part after it, `samples` is [from, to) of the whole step, `took` of this replica's share, `loss` the mean over all. */
  z.strictObject({
    type: z.literal('vote'),
    generation: uint32,
    step: count,
    digest,
    loss,
    samples: z.tuple([count, count]).readonly(),
    took: z.tuple([count, count]).readonly(),
    tokens: count,
    stepMs: ms,
    computeMs: ms,
    commMs: ms,
    waitMs: ms,
    bytesSent: count,
    rssBytes: count,
    liveTensors: count,
  }),
  /** Rank 0 only: mean loss over the held-out samples. */
  z.strictObject({
    type: z.literal('evaluated'),
    generation: uint32,
    step: count,
    loss,
    phase: z.enum(['untrained', 'during', 'final']),
  }),
  /** Copies of this rank's own part and of its neighbour's of the state after `step` are in its memory, whole: what they digest to. */
  z.strictObject({
    type: z.literal('mirrored'),
    generation: uint32,
    step: count,
    digests: z.tuple([digest, digest]).readonly(),
  }),
  /** Where the model is cut, of each rank of the first replica: its part of the state after `step` is on disk. */
  z.strictObject({ type: z.literal('checkpoint-part'), generation: uint32, step: count }),
  /** Rank 0 only: the checkpoint after `step` is complete on disk. */
  z.strictObject({ type: z.literal('checkpointed'), generation: uint32, step: count, path }),
  /** The state after `step`, or this rank's part of it, could not be taken to disk; the worker goes on. */
  z.strictObject({ type: z.literal('checkpoint-failed'), generation: uint32, step: count, error: errorRecord }),
  /** The last step is made; the last message of a worker. */
  z.strictObject({
    type: z.literal('finished'),
    generation: uint32,
    step: count,
    peakRssBytes: count,
    sampleText: z.string().max(65_536).exactOptional(),
    baselineLoss: loss.exactOptional(),
  }),
  /**
   * Progress of the device thread: `progress` rises whenever it moved, `opsEntered` counts the collectives it has begun in the generation,
   * `waitsFor` is there while it waits for others, with their names as far as they are known.
   * That the link lives is shown by its own pings.
   */
  z.strictObject({
    type: z.literal('heartbeat'),
    progress: count,
    step: count,
    opsEntered: count,
    waitsFor: z.array(workerName).max(16).readonly().exactOptional(),
  }),
  /** The worker cannot go on; its process ends. */
  z.strictObject({ type: z.literal('failed'), error: errorRecord }),
  /** The lanes with a peer are lost; the worker waits for the next generation. */
  z.strictObject({ type: z.literal('peer-lost'), generation: uint32, peerRank: rank, error: errorRecord }),
  /**
   * The last ops of this worker's group, when it was asked or when the generation failed; goes by another socket than tensors, so
   * a lane that is stuck does not hold it up. `computingMs`: since the device thread asked for something.
   */
  z.strictObject({
    type: z.literal('flight'),
    generation: uint32,
    cause: z.enum(['asked', 'failed']),
    computingMs: ms,
    ops: z.array(flightOp).max(maxFlightOps).readonly(),
  }),
  /** What this worker's device did in a step, where the model is cut in parts; of some steps. */
  z.strictObject({
    type: z.literal('timeline'),
    generation: uint32,
    step: count,
    ops: z.array(timedOp).max(maxTimedOps).readonly(),
  }),
  /** The worker wants to go, by its operator's wish; it stays until it is told `finish`. */
  z.strictObject({ type: z.literal('leave'), reason: text }),
] as const

export const workerMessage = z.discriminatedUnion('type', workerMessages)
export type WorkerMessage = z.infer<typeof workerMessage>

import path from 'node:path'
import { scratchBytesFor } from '@skein/collective'
import { systemClock } from '@skein/core'
import type { DeviceChoice } from '@skein/device'
import { openDataset, parseResolvedJob } from '@skein/job'
import { createSharedMemory, createSimd, SharedArena } from '@skein/simd'
import type { Logger } from '@skein/telemetry'
import { checkpointSink, createTrainingState, loadCheckpoint, trainingStateBytes, trainLoop } from '@skein/trainer'
import type { CommClient } from './comm-client.ts'
import { createdBy } from './created-by.ts'
import { lastWords } from './last-words.ts'
import { openModel } from './open-model.ts'

/** For collectives that need memory of their own: small ones in few rounds. */
const poolBytes = 1 << 20

export interface MemberParts {
  readonly comm: CommClient
  readonly choice: DeviceChoice
  readonly threads: number
  readonly workerId: string
  readonly logger: Logger
}

/**
 * A worker's part in one generation, on the device thread: model, data and state; the training loop; the last word.
 * Returns when the coordinator has said that the run is over. The caller owns the comm thread.
 */
export async function trainMember(
  parts: MemberParts,
): Promise<{ readonly lastStep: number; readonly stopped: boolean }> {
  const { comm, logger } = parts
  const welcome = await comm.told('welcome')
  const job = parseResolvedJob(welcome.job)
  using opened = await openModel({ job, choice: parts.choice, threads: parts.threads })
  const { model } = opened
  const dataset = await openDataset(job)
  logger.info(
    { runId: welcome.runId, ...dataset.describe().details, numParams: model.layout.numParams },
    'member.opened',
  )

  const notStarted = { lastStep: 0, stopped: true }
  const generation = await comm.toldUnlessFinished('generation')
  if (generation === undefined) return notStarted
  const rank = generation.members.find(member => member.workerId === parts.workerId)?.rank ?? -1
  const worldSize = generation.members.length
  const scratchBytes = scratchBytesFor(worldSize, { poolBytes })
  const arena = new SharedArena(createSharedMemory(trainingStateBytes(model.layout) + scratchBytes))
  const simd = createSimd(arena.memory)
  const state = createTrainingState(model.layout, arena)
  const connected = comm.connect(arena.memory, arena.alloc('collective scratch', scratchBytes))
  const log = logger.child({ runId: welcome.runId, generation: generation.generation, rank, worldSize })
  const peers = comm.peers(generation, rank)

  // Same seed, same bits on every machine; a user's own model draws its first weights itself, so rank 0's are taken.
  if (welcome.resume === undefined) model.initialise(state.params(), job.seed)
  else if (rank === 0) await loadCheckpoint(welcome.resume, state, simd)
  await connected
  const slot = state.current()
  if (welcome.resume !== undefined || model.initialIsRandom) await peers.broadcast(slot.params, 0)
  if (welcome.resume !== undefined) {
    await peers.broadcast(slot.expAvg, 0)
    await peers.broadcast(slot.expAvgSq, 0)
  }
  comm.startFrom(generation.startStep)
  comm.ready(slot.params, dataset.fingerprint, model.layout.numParams)
  if ((await comm.toldUnlessFinished('start')) === undefined) return { ...notStarted, lastStep: generation.startStep }
  log.info({ step: generation.startStep }, 'training.start')

  const checkpoints =
    rank === 0
      ? checkpointSink({
          state,
          simd,
          root: path.join(welcome.runDir, 'checkpoints'),
          keep: job.checkpoint.keep,
          globalBatch: job.batch.global,
          facts: {
            seed: job.seed,
            generation: generation.generation,
            dataFingerprint: dataset.fingerprint,
            job,
            model: job.model,
            createdBy: createdBy(parts.choice),
          },
          onSaved: (step, folder) => peers.checkpointed(step, folder),
        })
      : undefined
  const outcome = await trainLoop({
    job,
    model,
    dataset,
    state,
    simd,
    peers,
    clock: systemClock,
    startStep: generation.startStep,
    ...(checkpoints === undefined ? {} : { checkpoints }),
    onBucket: (step, bucket, elems) => log.debug({ step, bucket, elems }, 'bucket.ready'),
    onStep: result => {
      const { step, loss, gradNorm, stepMs, computeMs, waitMs } = result
      log.info({ step, loss, gradNorm, durMs: stepMs, computeMs, waitMs }, 'step.done')
    },
  })
  comm.tell({
    type: 'finished',
    generation: generation.generation,
    step: outcome.lastStep,
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
    ...(rank === 0 ? lastWords(job, dataset, opened, state.params()) : {}),
  })
  await comm.told('finish')
  return outcome
}

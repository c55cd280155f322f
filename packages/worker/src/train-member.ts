import path from 'node:path'
import { locationIn, type StoreEnvironment } from '@skein/checkpoint'
import { scratchBytesFor } from '@skein/collective'
import { asSkeinError, systemClock } from '@skein/core'
import type { Dataset } from '@skein/data'
import type { DeviceChoice } from '@skein/device'
import { openDataset, parseResolvedJob, type ResolvedJob } from '@skein/job'
import { createSharedMemory, createSimd, type Region, SharedArena, type Simd } from '@skein/simd'
import type { Logger } from '@skein/telemetry'
import {
  type CheckpointSink,
  checkpointSink,
  createTrainingState,
  DataParallel,
  type TrainingState,
  type TrainOutcome,
  trainingStateBytes,
  trainLoop,
} from '@skein/trainer'
import type { CommClient } from './comm-client.ts'
import { createdBy } from './created-by.ts'
import { type GenerationClient, GenerationIsOver, type GenerationMessage } from './generation-client.ts'
import { lastWords } from './last-words.ts'
import { openModel, type OpenedModel } from './open-model.ts'
import { restoreState } from './restore-state.ts'

/** For collectives that need memory of their own: small ones in few rounds. */
const poolBytes = 1 << 20

export interface MemberParts {
  readonly comm: CommClient
  readonly choice: DeviceChoice
  readonly threads: number
  readonly workerId: string
  readonly logger: Logger
  /** By which a checkpoint store is reached. */
  readonly environment: StoreEnvironment
}

/** What stays with a worker from one generation to the next. */
interface Trainee {
  readonly comm: CommClient
  readonly job: ResolvedJob
  readonly opened: OpenedModel
  readonly dataset: Dataset
  readonly state: TrainingState
  readonly simd: Simd
  readonly memory: WebAssembly.Memory
  readonly scratch: Region
  readonly checkpoints: CheckpointSink
  readonly environment: StoreEnvironment
  readonly logger: Logger
}

/**
 * A worker's part in a run, on the device thread: model, data and state, then one generation after the other, until the coordinator
 * says that its part is over. The caller owns the comm thread.
 */
export async function trainMember(
  parts: MemberParts,
): Promise<{ readonly lastStep: number; readonly stopped: boolean }> {
  const { comm } = parts
  const welcome = await comm.welcome()
  const job = parseResolvedJob(welcome.job)
  using opened = await openModel({ job, choice: parts.choice, threads: parts.threads })
  const { model } = opened
  const dataset = await openDataset(job)
  const logger = parts.logger.child({ runId: welcome.runId })
  logger.info({ ...dataset.describe().details, numParams: model.layout.numParams }, 'member.opened')
  comm.loaded(dataset.fingerprint, model.layout.numParams)

  // For the largest generation there may be; what is never touched is never taken from the system.
  const scratchBytes = scratchBytesFor(welcome.maxWorkers, { poolBytes })
  const arena = new SharedArena(createSharedMemory(trainingStateBytes(model.layout) + scratchBytes))
  const simd = createSimd(arena.memory)
  const state = createTrainingState(model.layout, arena)
  comm.shareState(state.shared)
  let generation = 0
  await using checkpoints = checkpointSink({
    state,
    simd,
    root: checkpointsOf(job, welcome.runDir),
    keep: job.checkpoint.keep,
    shardBytes: job.checkpoint.shardMiB * 1024 * 1024,
    environment: parts.environment,
    globalBatch: job.batch.global,
    facts: {
      seed: job.seed,
      get generation() {
        return generation
      },
      dataFingerprint: dataset.fingerprint,
      job,
      model: job.model,
      createdBy: createdBy(parts.choice),
    },
    onSaved: (step, folder) => comm.tell({ type: 'checkpointed', generation, step, path: folder }),
    onFailed: (step, error) => {
      logger.error({ step, code: error.code, reason: error.message }, 'checkpoint.failed')
      comm.tell({ type: 'checkpoint-failed', generation, step, error: error.toJSON() })
    },
  })
  const scratch = arena.alloc('collective scratch', scratchBytes)
  const trainee: Trainee = {
    comm,
    job,
    opened,
    dataset,
    state,
    simd,
    memory: arena.memory,
    scratch,
    checkpoints,
    environment: parts.environment,
    logger,
  }
  let outcome: TrainOutcome = { lastStep: 0, end: 'stopped' }
  for (;;) {
    const message = await comm.nextGeneration()
    if (message === undefined) break
    generation = message.generation
    const peers = comm.enter(message)
    try {
      outcome = await trainGeneration(trainee, message, peers)
    } catch (thrown) {
      if (!(thrown instanceof GenerationIsOver) && asSkeinError(thrown).retry !== 'next-generation') throw thrown
      // What ended it is known to the coordinator, or comes from there.
      const reason = await peers.over.catch(asSkeinError)
      logger.warn({ generation, step: state.step(), code: reason.code, reason: reason.message }, 'generation.over')
    }
  }
  await checkpoints.flush()
  return { lastStep: outcome.lastStep, stopped: outcome.end !== 'finished' }
}

/** Where a run has its checkpoints. In a place that runs share each has its own, by the name of its folder. */
function checkpointsOf(job: ResolvedJob, runDir: string): string {
  const { dir } = job.checkpoint
  return dir === undefined ? path.join(runDir, 'checkpoints') : locationIn(dir, path.basename(runDir))
}

async function trainGeneration(
  trainee: Trainee,
  message: GenerationMessage,
  peers: GenerationClient,
): Promise<TrainOutcome> {
  const { comm, job, opened, dataset, state, simd, memory, scratch, checkpoints, environment } = trainee
  const { rank, worldSize, generation } = peers
  const { startStep } = message
  const log = trainee.logger.child({ generation, rank, worldSize })
  // No more than a run of this size alone would have: algorithms are chosen by it, and the same members are to give the same bits.
  const bytes = scratchBytesFor(worldSize, { poolBytes })
  const connected = peers.connect(memory, { byteOffset: scratch.byteOffset, bytes })
  connected.catch(() => undefined)
  await restoreState({ message, peers, connected, model: opened.model, state, simd, seed: job.seed, environment })
  await peers.ready(state.current().params, startStep)
  log.info({ step: startStep }, 'training.start')
  const strategy = new DataParallel({
    model: opened.model,
    dataset,
    state,
    simd,
    peers,
    clock: systemClock,
    batch: job.batch,
    onBucket: (step, bucket, elems) => log.debug({ step, bucket, elems }, 'bucket.ready'),
  })
  const outcome = await trainLoop({
    job,
    strategy,
    dataset,
    state,
    simd,
    peers,
    clock: systemClock,
    startStep,
    history: () => comm.history,
    ...(rank === 0 ? { checkpoints } : {}),
    onStep: result => {
      const { step, loss, gradNorm, stepMs, computeMs, waitMs } = result
      log.info({ step, loss, gradNorm, durMs: stepMs, computeMs, waitMs }, 'step.done')
    },
  })
  if (outcome.end === 'regrouped') return outcome
  comm.tell({
    type: 'finished',
    generation,
    step: outcome.lastStep,
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
    ...(rank === 0 ? lastWords(job, dataset, opened, state.params()) : {}),
  })
  return outcome
}

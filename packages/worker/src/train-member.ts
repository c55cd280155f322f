import path from 'node:path'
import { locationIn, type StoreEnvironment } from '@skein/checkpoint'
import { asSkeinError, systemClock } from '@skein/core'
import type { Dataset } from '@skein/data'
import type { DeviceChoice } from '@skein/device'
import { openDataset, parseResolvedJob, type ResolvedJob } from '@skein/job'
import type { Logger } from '@skein/telemetry'
import {
  type CheckpointSink,
  checkpointSink,
  type MirrorSink,
  type PartSaving,
  type TrainOutcome,
  trainLoop,
} from '@skein/trainer'
import type { CommClient } from './comm-client.ts'
import { createdBy } from './created-by.ts'
import { type GenerationClient, GenerationIsOver, type GenerationMessage } from './generation-client.ts'
import { lastWords } from './last-words.ts'
import { openTrainees } from './open-trainees.ts'
import { OwnCopies } from './own-copies.ts'
import { restoreState } from './restore-state.ts'
import type { Trainee } from './trainee.ts'

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
interface Member {
  readonly comm: CommClient
  readonly job: ResolvedJob
  readonly dataset: Dataset
  readonly environment: StoreEnvironment
  readonly logger: Logger
}

/** What stays with it as long as it has the same part of the model. */
interface Holding extends AsyncDisposable {
  readonly trainee: Trainee
  readonly ownCopies: OwnCopies
  readonly checkpoints: CheckpointSink
}

/**
 * A worker's part in a run, on the device thread: model, data and state, then one generation after the other, until the coordinator
 * says that its part is over. The caller owns the comm thread.
 */
export async function trainMember(
  parts: MemberParts,
): Promise<{ readonly lastStep: number; readonly stopped: boolean }> {
  const { comm, choice, threads, environment } = parts
  const welcome = await comm.welcome()
  const { maxWorkers } = welcome
  const job = parseResolvedJob(welcome.job)
  using trainees = await openTrainees({ job, choice, threads, maxWorkers })
  const { numParams } = trainees
  const dataset = await openDataset(job)
  const logger = parts.logger.child({ runId: welcome.runId })
  logger.info({ ...dataset.describe().details, numParams }, 'member.opened')
  comm.loaded(dataset.fingerprint, numParams)

  const member: Member = { comm, job, dataset, environment, logger }
  let generation = 0
  let peers: GenerationClient | undefined
  const hold = async (part: number): Promise<Holding> => {
    const trainee = await trainees.open(part)
    comm.shareState(trainee.state.shared, part)
    const checkpoints = sinkFor(member, trainee, {
      choice,
      root: checkpointsOf(job, welcome.runDir),
      generation: () => generation,
      peers: () => peers,
    })
    const dispose = async () => {
      await checkpoints[Symbol.asyncDispose]()
      trainee[Symbol.dispose]()
    }
    return { trainee, ownCopies: new OwnCopies(trainee.state), checkpoints, [Symbol.asyncDispose]: dispose }
  }
  // A whole model is the same for every rank: it is there before the first generation.
  let holding = job.mesh.pp === 1 ? await hold(0) : undefined
  const holdPart = async (part: number): Promise<Holding> => {
    if (holding?.trainee.part === part) return holding
    // What is being written is of the part that it had.
    await holding?.checkpoints.flush()
    await holding?.[Symbol.asyncDispose]()
    holding = undefined
    return (holding = await hold(part))
  }
  let outcome: TrainOutcome = { lastStep: 0, end: 'stopped' }
  try {
    for (;;) {
      const message = await comm.nextGeneration(async part => void (await holdPart(part)))
      if (message === undefined) break
      generation = message.generation
      peers = comm.enter(message)
      const held = await holdPart(peers.part)
      try {
        outcome = await trainGeneration(member, held, message, peers)
      } catch (thrown) {
        if (!(thrown instanceof GenerationIsOver) && asSkeinError(thrown).retry !== 'next-generation') throw thrown
        // What ended it is known to the coordinator, or comes from there.
        const { code, message: reason } = await peers.over.catch(asSkeinError)
        logger.warn({ generation, step: held.trainee.state.step(), code, reason }, 'generation.over')
      }
    }
    await holding?.checkpoints.flush()
  } finally {
    await holding?.[Symbol.asyncDispose]()
  }
  return { lastStep: outcome.lastStep, stopped: outcome.end !== 'finished' }
}

function sinkFor(
  { comm, job, dataset, environment, logger }: Member,
  trainee: Trainee,
  parts: {
    readonly choice: DeviceChoice
    readonly root: string
    readonly generation: () => number
    readonly peers: () => GenerationClient | undefined
  },
) {
  const { state, simd, part } = trainee
  const { choice, root, generation } = parts
  const saving = (peers: GenerationClient): PartSaving => ({
    part,
    parts: peers.parts,
    owns: tensor => trainee.owns(tensor),
    partSaved: step => peers.partSaved(step),
    allPartsSaved: step => peers.allPartsSaved(step),
  })
  return checkpointSink({
    state,
    simd,
    root,
    keep: job.checkpoint.keep,
    shardBytes: job.checkpoint.shardMiB * 1024 * 1024,
    environment,
    globalBatch: job.batch.global,
    facts: {
      seed: job.seed,
      get generation() {
        return generation()
      },
      dataFingerprint: dataset.fingerprint,
      job,
      model: job.model,
      createdBy: createdBy(choice),
    },
    partSaving: () => {
      const peers = parts.peers()
      return peers === undefined || peers.parts === 1 ? undefined : saving(peers)
    },
    onSaved(step, of, { path: folder, notTidied }) {
      if (notTidied !== undefined) logger.warn({ step, reason: notTidied }, 'checkpoint.not-tidied')
      comm.tell({ type: 'checkpointed', generation: of, step, path: folder })
    },
    onFailed: (step, of, error) => {
      logger.error({ step, code: error.code, reason: error.message }, 'checkpoint.failed')
      comm.tell({ type: 'checkpoint-failed', generation: of, step, error: error.toJSON() })
    },
  })
}

/** Where a run has its checkpoints. In a place that runs share each has its own, by the name of its folder. */
function checkpointsOf(job: ResolvedJob, runDir: string): string {
  const { dir } = job.checkpoint
  return dir === undefined ? path.join(runDir, 'checkpoints') : locationIn(dir, path.basename(runDir))
}

const mirrorSink = (every: number, ownCopies: OwnCopies, peers: GenerationClient): MirrorSink => ({
  every,
  isDue: step => peers.isToMirror(step),
  take: step => peers.mirror(step, ownCopies.take(step, peers.mirrored)),
})

async function trainGeneration(
  member: Member,
  { trainee, ownCopies, checkpoints }: Holding,
  message: GenerationMessage,
  peers: GenerationClient,
): Promise<TrainOutcome> {
  const { comm, job, dataset, environment } = member
  const { model, state, simd, memory } = trainee
  const { rank, worldSize, generation } = peers
  const { startStep } = message
  const log = member.logger.child({ generation, rank, worldSize })
  const connected = peers.connect(memory, trainee.groups(peers))
  connected.catch(() => undefined)
  const copies = trainee.copies(worldSize)
  await restoreState({ message, peers, connected, model, copies, state, ownCopies, simd, seed: job.seed, environment })
  await peers.ready(state.current().params, startStep)
  const mirror = job.elastic?.mirror
  log.info({ step: startStep }, 'training.start')
  const outcome = await trainLoop({
    job,
    strategy: trainee.strategy({ peers, dataset, logger: log }),
    dataset,
    state,
    simd,
    peers,
    clock: systemClock,
    startStep,
    history: () => comm.history,
    ...(peers.replica === 0 ? { checkpoints } : {}),
    ...(mirror === undefined ? {} : { mirror: mirrorSink(mirror.every, ownCopies, peers) }),
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
    ...(rank === 0 ? lastWords(job, dataset, trainee.gpt2, state.params()) : {}),
  })
  return outcome
}

import { scratchBytesFor } from '@skein/collective'
import { replicaOf, systemClock } from '@skein/core'
import type { Dataset } from '@skein/data'
import { jobSchedule, possibleReplicas, type ResolvedJob } from '@skein/job'
import type { Gpt2, PipelineModel, TrainableModel } from '@skein/model'
import { partsHolding, type PipelineMesh, sharedBuckets, stagesOfPart, vocabularyGroups } from '@skein/parallel'
import { createSharedMemory, createSimd, type Region, SharedArena, type Simd } from '@skein/simd'
import type { Logger } from '@skein/telemetry'
import {
  createTrainingState,
  DataParallel,
  PipelineParallel,
  type Strategy,
  type TrainingState,
  trainingStateBytes,
} from '@skein/trainer'
import type { GenerationClient } from './generation-client.ts'
import type { GroupPlace } from './thread-messages.ts'

/** For collectives that need memory of their own: small ones in few rounds. */
const poolBytes = 1 << 20

/** What one strategy needs of a generation. */
export interface StrategyParts {
  readonly peers: GenerationClient
  readonly dataset: Dataset
  readonly logger: Logger
}

/** What a worker trains: a model, or its part of one, and the state of that. Another part is another trainee. */
export interface Trainee extends Disposable {
  /** Place within a replica; 0 where the model is whole. */
  readonly part: number
  readonly model: Pick<TrainableModel, 'layout' | 'initialise' | 'initialIsRandom'>
  /** The same where it is a whole GPT, for generating text. */
  readonly gpt2: Gpt2 | undefined
  readonly memory: WebAssembly.Memory
  readonly state: TrainingState
  readonly simd: Simd
  /** Whether this part takes the tensor to disk: of those that hold it the first one does. */
  owns(tensor: string): boolean
  /** The group of all who hold the same parameters, where these are several; of a part whose parameters differ in who holds them, none. */
  copies(worldSize: number): number | undefined
  /** The groups that the strategy needs on a rank of this part, that of all members first. */
  groups(peers: Pick<GenerationClient, 'rank' | 'worldSize'>): readonly GroupPlace[]
  strategy(parts: StrategyParts): Strategy
}

/** The whole model on every rank; it stays with the caller. */
export function wholeTrainee(
  job: ResolvedJob,
  model: TrainableModel,
  gpt2: Gpt2 | undefined,
  maxWorkers: number,
): Trainee {
  // For the largest generation there may be; what is never touched is never taken from the system.
  const scratchBytes = scratchBytesFor(maxWorkers, { poolBytes })
  const arena = new SharedArena(createSharedMemory(trainingStateBytes(model.layout) + scratchBytes))
  const simd = createSimd(arena.memory)
  const state = createTrainingState(model.layout, arena)
  const scratch = arena.alloc('collective scratch', scratchBytes)
  return {
    part: 0,
    model,
    gpt2,
    memory: arena.memory,
    state,
    simd,
    owns: () => true,
    copies: worldSize => (worldSize > 1 ? 0 : undefined),
    groups: ({ worldSize }) => [groupOfAll(worldSize, scratch)],
    strategy: ({ peers, dataset, logger }) =>
      new DataParallel({
        model,
        dataset,
        state,
        simd,
        peers,
        clock: systemClock,
        batch: job.batch,
        onBucket: (step, bucket, elems) => logger.debug({ step, bucket, elems }, 'bucket.ready'),
      }),
    [Symbol.dispose]: () => undefined,
  }
}

/** What a part has of a pipe. */
export interface PlaceOfPart {
  readonly part: number
  readonly stages: readonly number[]
  /** Of the pipe. */
  readonly numStages: number
}

/** Stages of the model, as the job's schedule places them. The model that `open` makes is the trainee's. */
export async function partTrainee(parts: {
  readonly job: ResolvedJob
  readonly part: number
  readonly maxWorkers: number
  readonly open: (place: PlaceOfPart) => Promise<PipelineModel>
  readonly liveTensors: () => number
}): Promise<Trainee> {
  const { job, part, maxWorkers, liveTensors } = parts
  const { pp } = job.mesh
  const replicas = possibleReplicas(job, Math.max(1, Math.floor(maxWorkers / pp))) ?? []
  const schedules = replicas.map(dp => jobSchedule(job, dp))
  const [placed] = schedules
  if (placed === undefined) throw new Error(`no number of replicas suits the job ${job.name}`)
  const model = await parts.open({ part, stages: stagesOfPart(placed, part), numStages: placed.stages })
  const messageBytes = Math.max(...schedules.map(one => PipelineParallel.messageBytes(one, part, model)))
  const worldBytes = scratchBytesFor(maxWorkers, { poolBytes })
  const sharingBytes = scratchBytesFor(Math.max(2, maxWorkers), { poolBytes })
  // Of a replica, however many there are.
  const numOwn = vocabularyGroups({ dp: 1, pp }, placed, 0).size
  const ownBytes = scratchBytesFor(pp, { poolBytes })
  const arena = new SharedArena(
    createSharedMemory(
      trainingStateBytes(model.layout) +
        messageBytes +
        worldBytes +
        maxSharingGroups * sharingBytes +
        numOwn * ownBytes +
        (8 + numOwn) * 64,
    ),
  )
  const simd = createSimd(arena.memory)
  const state = createTrainingState(model.layout, arena)
  const messages = arena.alloc('messages', messageBytes)
  const world = arena.alloc('collective scratch', worldBytes)
  const sharing = Array.from({ length: maxSharingGroups }, (_, i) =>
    arena.alloc(`scratch of copies ${i}`, sharingBytes),
  )
  const own = Array.from({ length: numOwn }, (_, i) => arena.alloc(`scratch of the vocabulary ${i}`, ownBytes))
  const meshOf = (worldSize: number): PipelineMesh => ({ dp: worldSize / pp, pp })
  return {
    part,
    model,
    gpt2: undefined,
    memory: arena.memory,
    state,
    simd,
    owns: tensor => partsHolding(placed, model.stagesOf(tensor))[0] === part,
    copies(worldSize) {
      const shared = sharedBuckets(model, meshOf(worldSize), placed)
      const numbers = new Set(shared.map(({ groupNumber, ranks }) => (ranks.length > 1 ? groupNumber : undefined)))
      return numbers.size === 1 ? [...numbers][0] : undefined
    },
    groups({ rank, worldSize }) {
      const mesh = meshOf(worldSize)
      const byNumber = new Map<number, readonly number[]>()
      for (const { groupNumber, ranks } of sharedBuckets(model, mesh, placed)) {
        if (ranks.length > 1) byNumber.set(groupNumber, ranks)
      }
      const places = [...byNumber].map(([number, ranks], i): GroupPlace => {
        const { byteOffset } = sharing[i] as Region
        return { number, ranks, scratch: { byteOffset, bytes: scratchBytesFor(ranks.length, { poolBytes }) } }
      })
      const ofVocabulary = [...vocabularyGroups(mesh, placed, replicaOf(rank, pp))].map(
        ([number, ranks], i): GroupPlace => ({ number, ranks, scratch: own[i] as Region }),
      )
      return [groupOfAll(worldSize, world), ...places, ...ofVocabulary]
    },
    strategy({ peers, dataset, logger }) {
      const mesh = meshOf(peers.worldSize)
      return new PipelineParallel({
        mesh,
        rank: peers.rank,
        model,
        schedule: jobSchedule(job, mesh.dp),
        dataset,
        state,
        simd,
        world: peers.world,
        groups: peers.groups,
        messages: peers.world.messages,
        memory: arena.memory,
        messageMemory: messages,
        clock: systemClock,
        batch: job.batch,
        check: () => peers.check(),
        liveTensors,
        onTimeline: (step, { ops, waitMs, peakHeldBytes }) => {
          logger.debug({ step, ops: ops.length, waitMs, peakHeldBytes }, 'schedule.done')
          if (isTraced(step)) peers.tellTimeline(step, ops)
        },
      })
    },
    [Symbol.dispose]: () => model.dispose(),
  }
}

/** Steps whose timeline everybody tells; the first one is not like the others. */
const isTraced = (step: number): boolean => step === 2 || step % 10 === 0

/** Copies of stages, which all have the same ranks, and tied parameters. */
const maxSharingGroups = 2

const groupOfAll = (worldSize: number, { byteOffset }: Region): GroupPlace => ({
  number: 0,
  ranks: Array.from({ length: worldSize }, (_, rank) => rank),
  // No more than a run of this size alone would have: algorithms are chosen by it, and the same members are to give the same bits.
  scratch: { byteOffset, bytes: scratchBytesFor(worldSize, { poolBytes }) },
})

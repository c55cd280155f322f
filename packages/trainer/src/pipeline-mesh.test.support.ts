import { type Group, type Messages, messagesOf } from '@skein/collective'
import { partOf, replicaOf, seededRandom } from '@skein/core'
import { customDataset, type Dataset, openCustomDataset } from '@skein/data'
import type { KernelDevice } from '@skein/device'
import { type FlatLayout, type Gpt2Config, Gpt2Pipeline, sliceLengths } from '@skein/model'
import { type PipelineMesh, sharedBuckets, stagesOfPart, vocabularyGroups } from '@skein/parallel'
import { equalCostCuts, type Schedule } from '@skein/schedule'
import { createSharedMemory, type Region, SharedArena } from '@skein/simd'
import { groupScratchBytes, MeshWorld } from './mesh-world.test.support.ts'
import { PipelineParallel } from './pipeline-parallel.ts'
import { createTrainingState, type TrainingState, trainingStateBytes } from './training-state.ts'

export interface MeshToOpen {
  readonly folder: string
  readonly device: KernelDevice
  readonly config: Gpt2Config
  readonly mesh: PipelineMesh
  readonly schedule: Schedule
  /** Samples of a microbatch. */
  readonly micro: number
  readonly seed: number
}

/** What a rank of a mesh brings to its strategy. */
export interface MeshRank {
  readonly rank: number
  readonly part: number
  readonly model: Gpt2Pipeline
  readonly state: TrainingState
  readonly memory: WebAssembly.Memory
  readonly arena: SharedArena
  readonly messageMemory: Region
  readonly world: Group
  readonly messages: Messages
  readonly groups: ReadonlyMap<number, Group>
}

/** A GPT-2 over a mesh of ranks in this process, connected by sockets, each with its stages initialised as the state after step 0. */
export async function openMesh({ folder, device, config, mesh, schedule, micro, seed }: MeshToOpen) {
  const world = new MeshWorld(folder)
  const everyone = Array.from({ length: mesh.dp * mesh.pp }, (_, rank) => rank)
  const ranks = everyone.map(rank => {
    const part = partOf(rank, mesh.pp)
    const model = new Gpt2Pipeline({
      config,
      device,
      samples: micro,
      stages: stagesOfPart(schedule, part),
      cuts: evenCuts(config, schedule.stages),
      slices: sliceLengths(config.context, equalCostCuts(schedule.slices, 0.4)),
      ...(schedule.vocabulary !== undefined && { vocabulary: { part, parts: mesh.pp } }),
    })
    const shared = sharedBuckets(model, mesh, schedule).filter(bucket => bucket.ranks.length > 1)
    const groups = new Map<number, readonly number[]>([[0, everyone]])
    for (const bucket of shared) groups.set(bucket.groupNumber, bucket.ranks)
    for (const [number, members] of vocabularyGroups(mesh, schedule, replicaOf(rank, mesh.pp))) {
      groups.set(number, members)
    }
    const messageBytes = PipelineParallel.messageBytes(schedule, part, model)
    const scratch = [...groups.values()].reduce((sum, members) => sum + groupScratchBytes(members.length) + 64, 0)
    const arena = new SharedArena(createSharedMemory(trainingStateBytes(model.layout) + messageBytes + scratch + 64))
    const state = createTrainingState(model.layout, arena)
    model.initialise(state.params(), seed)
    state.filled(0)
    return { rank, part, model, arena, groups, state, messageMemory: arena.alloc('messages', messageBytes) }
  })
  const connected = await world.connect(ranks)
  return {
    ranks: ranks.map((own): MeshRank => {
      const groups = connected[own.rank] ?? new Map()
      const all = groups.get(0) as Group
      return { ...own, memory: own.arena.memory, world: all, messages: messagesOf(all), groups }
    }),
    async close() {
      await world.close()
      for (const { model } of ranks) model.dispose()
    },
  }
}

/** Tokens that follow from those before them; `seed` says which. */
export function textLike(
  config: Gpt2Config,
  sizes: { readonly globalBatch: number; readonly numHeldOut: number; readonly seed: number },
): Promise<Dataset> {
  const { globalBatch, numHeldOut, seed } = sizes
  return openCustomDataset(
    customDataset({
      numSamples: globalBatch * 3,
      numValSamples: numHeldOut,
      sample(split, index) {
        const random = seededRandom(seed, split === 'train' ? 0 : 1, index)
        const inputs = Int32Array.from({ length: config.context }, () => random.nextInt(config.vocab))
        const targets = inputs.map(token => (token * 5 + 3) % config.vocab)
        const shape = [config.context]
        return { inputs: { data: inputs, shape }, targets: { data: targets, shape } }
      },
      fingerprint: 'text-like',
    }),
    { seed: 1, globalBatch },
  )
}

export function namedTensors(layout: FlatLayout, flat: Float32Array): Map<string, Float32Array> {
  return new Map(layout.tensors.map(({ name, offset, elems }) => [name, flat.slice(offset, offset + elems)]))
}

/** Units of each stage, the longer ones in the middle. */
function evenCuts({ layers }: Gpt2Config, stages: number): number[] {
  const units = layers + 2
  return Array.from(
    { length: stages },
    (_, i) => Math.floor(((i + 1) * units) / stages) - Math.floor((i * units) / stages),
  )
}

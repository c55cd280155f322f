import path from 'node:path'
import { AskedProcess } from './asked-process.ts'
import { places } from './places.ts'
import { freePort } from './rank-world.ts'

/** Of one microbatch on the stages of one rank, in ms; and the float32 of a tensor between stages. */
export interface PacedSizes {
  readonly microbatches: number
  readonly elems: number
  readonly forward: number
  readonly inputGrad: number
  readonly weightGrad: number
}

/** Ranks of torch.distributed.pipelining over Gloo, alive and connected, with stages that only take their time. */
export interface TorchPipeline {
  /** Schedules that this PyTorch has, by our names: gpipe, 1f1b, interleaved, breadth-first, zb-v and interleaved-zb at most. */
  readonly schedules: readonly string[]
  /** Times of `steps` steps in ms: those of the slowest rank. */
  run(schedule: string, steps: number, sizes: PacedSizes): Promise<readonly number[]>
  end(): Promise<void>
}

const program = path.join(places.root, 'packages/bench/peers/pipeline_torch.py')

export async function torchPipeline(python: string, ranks: number): Promise<TorchPipeline> {
  const port = String(await freePort())
  const processes = await Promise.all(
    Array.from({ length: ranks }, (_, rank) =>
      AskedProcess.start(`torch rank ${rank}`, python, [program, String(rank), String(ranks), '127.0.0.1', port]),
    ),
  )
  await Promise.all(processes.map(rank => rank.ask('connect')))
  const [greeting] = processes.map(rank => rank.greeting as { readonly schedules: readonly string[] })
  return {
    schedules: greeting?.schedules ?? [],
    async run(schedule, steps, sizes) {
      const line = `run ${schedule} ${steps} ${JSON.stringify(sizes)}`
      const answers = await Promise.all(processes.map(rank => rank.ask<{ readonly ms: readonly number[] }>(line)))
      return Array.from({ length: steps }, (_, step) => Math.max(...answers.map(({ ms }) => ms[step] as number)))
    },
    async end() {
      await Promise.all(processes.map(rank => rank.end()))
    },
  }
}

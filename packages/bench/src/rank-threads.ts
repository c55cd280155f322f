import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { RemoteGroup } from '@skein/collective'
import { createSharedMemory, type Region, SharedArena } from '@skein/simd'
import { type Address, benchScratchBytes, type CommStart } from './collective-comm.ts'

export interface RankOptions extends Pick<CommStart, 'rank' | 'ranks' | 'lanes' | 'host' | 'socketPath'> {
  readonly maxBytes: number
}

/** A rank of a bench with the two threads of a worker: this one is the device thread. */
export interface RankThreads {
  readonly options: RankOptions
  readonly memory: WebAssembly.Memory
  /** For tensors, [maxBytes]. */
  readonly tensors: Region
  readonly comm: Worker
  /** To be given what the comm thread answers. */
  readonly group: RemoteGroup
  readonly address: Address
  /** A line for who asked. */
  readonly say: (line: unknown) => void
}

/** Starts the comm thread of the rank that this process was started for. */
export async function openRankThreads(): Promise<RankThreads> {
  const options = JSON.parse(process.argv[2] ?? '') as RankOptions
  const { rank, ranks, maxBytes, host, socketPath } = options
  const scratchBytes = benchScratchBytes(ranks)
  const arena = new SharedArena(createSharedMemory(maxBytes + scratchBytes + 4096))
  const tensors = arena.alloc('tensors', maxBytes)
  const { memory } = arena
  const workerData: CommStart = { ...options, memory, scratch: arena.alloc('scratch', scratchBytes), tensors }
  const comm = new Worker(new URL('./collective-comm.js', import.meta.url), { workerData })
  const group = new RemoteGroup({ rank, worldSize: ranks }, request => comm.postMessage(request))
  const [{ port }] = (await once(comm, 'message')) as [{ port: number }]
  return {
    options,
    memory,
    tensors,
    comm,
    group,
    address: { host, port, socketPath },
    say: line => void process.stdout.write(`${JSON.stringify(line)}\n`),
  }
}

/**
 * One rank of the collectives bench, a process with the two threads of a worker: `node collective-rank.js '{"rank":0,"ranks":2,…}'`.
 * Says {"ready":true,"address":…}; then answers lines of standard input: "connect [addresses]" → {"connected":true},
 * "measure [SIZES]" → what the links are like and which algorithms go best, "run BYTES ROUNDS OPTIONS" → {"ms":[…]}, "quit" ends. Times are those of the caller, in the device thread.
 */
import { once } from 'node:events'
import readline from 'node:readline'
import type { AllReduceOptions, GroupAnswer, TensorRegion, Tuned } from '@skein/collective'
import type { LinkFigures } from '@skein/plan'
import type { Address } from './collective-comm.ts'
import { openRankThreads } from './rank-threads.ts'

/** What a group has found out about its links. */
export interface Measured {
  readonly worst: LinkFigures
  readonly tuned: readonly Tuned[]
}

const { options, memory, tensors, comm, group, address, say } = await openRankThreads()
const { rank, ranks } = options

async function run(bytes: number, rounds: number, how: AllReduceOptions): Promise<readonly number[]> {
  const region: TensorRegion = { byteOffset: tensors.byteOffset, elems: bytes / 4, dtype: 'float32' }
  const view = new Float32Array(memory.buffer, tensors.byteOffset, bytes / 4).fill(1)
  await group.allReduce(region, how)
  // 1 has an exact form in every codec.
  for (const x of view) if (x !== ranks) throw new Error(`rank ${rank}: wrong sum of ${bytes} B`)
  view.fill(0)
  // Else the first rounds hold the time that another rank still looks at its sums: 40 ms for 16 MiB.
  await group.barrier()
  const ms: number[] = []
  for (let round = 0; round < rounds; round++) {
    const start = performance.now()
    await group.allReduce(region, how)
    ms.push(performance.now() - start)
  }
  return ms
}

say({ ready: true, address })
for await (const line of readline.createInterface({ input: process.stdin })) {
  const [command, first = '', second = '', third = '{}'] = line.split(' ')
  if (command === 'connect') {
    comm.postMessage({ type: 'connect', addresses: JSON.parse(first) as Address[] })
    await once(comm, 'message')
    comm.on('message', (answer: GroupAnswer | ({ type: 'measured' } & Measured)) => {
      if (answer.type === 'measured') say({ worst: answer.worst, tuned: answer.tuned } satisfies Measured)
      else group.receive(answer)
    })
    say({ connected: true })
  } else if (command === 'measure') comm.postMessage({ type: 'measure', sizes: JSON.parse(first) as number[] })
  else if (command === 'run') {
    say({ ms: await run(Number(first), Number(second), JSON.parse(third) as AllReduceOptions) })
  } else break
}
comm.postMessage({ type: 'close' })

/** The comm thread of a rank of the collectives bench: sockets and group, as in a worker. */
import os from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import {
  createGroup,
  type GroupRequest,
  GroupServer,
  measureLinks,
  scratchBytesFor,
  tuneAllReduce,
} from '@skein/collective'
import { connectGroup, EagerLoop, eagerMs } from '@skein/collective/node'
import { createSimd, type Region } from '@skein/simd'
import { attachLanes, type LaneKind, listen } from '@skein/transport'

export interface CommStart {
  readonly rank: number
  readonly ranks: number
  /** Over which sockets the tensors go. */
  readonly lanes: LaneKind | 'unix'
  readonly host: string
  /** Of this rank's Unix socket. */
  readonly socketPath: string
  readonly memory: WebAssembly.Memory
  readonly scratch: Region
  readonly tensors: Region
}

export interface Address {
  readonly host: string
  readonly port: number
  readonly socketPath: string
}

export const poolBytes = 80 << 20
export const benchScratchBytes = (ranks: number) => scratchBytesFor(ranks, { poolBytes })

const port = parentPort
if (port !== null) {
  const start = workerData as CommStart
  const { rank, ranks, memory, lanes } = start
  const lane = { generation: 1, token: 'bench' }
  const group = createGroup({
    rank,
    worldSize: ranks,
    generation: 1,
    memory,
    simd: createSimd(memory),
    scratch: start.scratch,
  })
  const eager = new EagerLoop(eagerMs(ranks, os.availableParallelism()))
  const server = new GroupServer(
    group,
    answer => port.postMessage(answer),
    (_, over) => eager.during(over),
  )
  const listener = await listen(lanes === 'unix' ? { path: start.socketPath } : { host: start.host })
  const door = attachLanes(listener.server).open({ ...lane, rank, worldSize: ranks })

  const connect = async (addresses: readonly Address[]) => {
    const kind = lanes === 'unix' ? 'raw' : lanes
    const places = addresses.map(({ host, port: at, socketPath }) => ({
      host,
      port: at,
      ...(lanes === 'unix' ? { path: socketPath } : {}),
    }))
    await connectGroup(group, { door, addresses: places, token: lane.token, kind, timeoutMs: 20_000 })
    port.postMessage({ type: 'connected' })
  }
  /** In the memory of the tensors, which nobody uses meanwhile. */
  const measure = async (sizes: readonly number[]) => {
    const { byteOffset, bytes } = start.tensors
    const view = new Float32Array(memory.buffer, byteOffset, bytes / 4)
    const { worst, ringOrder } = await measureLinks({
      group,
      region: { byteOffset, elems: view.length, dtype: 'float32' },
      view,
    })
    group.setLinks(worst, ringOrder)
    const tuned = await tuneAllReduce({
      group,
      region: { byteOffset, elems: view.length, dtype: 'float32' },
      view,
      sizes,
    })
    port.postMessage({ type: 'measured', worst, tuned })
  }
  port.on(
    'message',
    (
      message:
        | GroupRequest
        | { type: 'connect'; addresses: readonly Address[] }
        | { type: 'close' }
        | { type: 'measure'; sizes: readonly number[] },
    ) => {
      if (message.type === 'connect') void connect(message.addresses)
      else if (message.type === 'measure') void measure(message.sizes)
      else if (message.type === 'close') {
        group.close()
        void listener.close().then(() => port.close())
      } else eager.during(server.receive(message))
    },
  )
  port.postMessage({ type: 'listening', port: listener.port })
}

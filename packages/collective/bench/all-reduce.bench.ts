/**
 * All-reduce among processes of this machine over loopback: our raw lanes and WebSocket lanes, beside two floors measured in the
 * same run: the bytes through a bare socket, and a memcpy. After a build:
 *
 *     node packages/collective/bench/all-reduce.bench.ts [ranks …] [--json]        (default 2 4)
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { createGroup, scratchBytesFor, type TensorRegion } from '@skein/collective'
import { createSharedMemory, createSimd, SharedArena } from '@skein/simd'
import { attachLanes, dialLane, type LaneKind, listen } from '@skein/transport'

/** bytes of the region, rounds. */
const sizes: readonly (readonly [number, number])[] = [
  [4 << 10, 301],
  [64 << 10, 201],
  [1 << 20, 61],
  [13 << 20, 15],
  [64 << 20, 7],
]
const maxBytes = 64 << 20

interface Shared {
  readonly rank: number
  readonly ranks: number
  readonly kind: LaneKind
}

/** One rank: tells its port, hears all ports, measures, tells its times (ms, one a round) per size. */
async function rankMain({ rank, ranks, kind }: Shared): Promise<void> {
  const arena = new SharedArena(createSharedMemory(maxBytes + scratchBytesFor(ranks) + 4096))
  const group = createGroup({
    rank,
    worldSize: ranks,
    generation: 1,
    memory: arena.memory,
    simd: createSimd(arena.memory),
    scratch: arena.alloc('scratch', scratchBytesFor(ranks)),
  })
  const values = arena.alloc('values', maxBytes)
  const listener = await listen()
  const wait = { timeoutMs: 20_000 }
  const lane = { generation: 1, token: 'bench' }
  const door = attachLanes(listener.server).open({ ...lane, rank, worldSize: ranks })
  process.send?.({ port: listener.port })
  const [{ ports }] = (await once(process, 'message')) as [{ ports: number[] }]
  await Promise.all(
    ports.flatMap((port, peer) =>
      peer === rank
        ? []
        : [
            dialLane({ ...lane, ...wait, port, kind, rank, peer, sink: group.sink(peer) }).then(r =>
              group.attachReader(r),
            ),
            door.lane(peer, wait).then(writer => group.attachWriter(writer)),
          ],
    ),
  )
  const times: number[][] = []
  for (const [bytes, rounds] of sizes) {
    const region: TensorRegion = { byteOffset: values.byteOffset, elems: bytes / 4, dtype: 'float32' }
    const view = new Float32Array(arena.memory.buffer, values.byteOffset, bytes / 4).fill(1)
    await group.allReduce(region)
    if (view.some(x => x !== ranks)) throw new Error(`rank ${rank}: wrong sum of ${bytes} B`)
    view.fill(0)
    for (let i = 0; i < rounds / 3; i++) await group.allReduce(region)
    const ofSize: number[] = []
    for (let i = 0; i < rounds; i++) {
      const start = performance.now()
      await group.allReduce(region)
      ofSize.push(performance.now() - start)
    }
    times.push(ofSize)
  }
  await group.barrier()
  process.send?.({ times })
  group.close()
  await listener.close()
  process.disconnect()
}

/** Times of rank 0, per size. */
async function measure(ranks: number, kind: LaneKind): Promise<readonly (readonly number[])[]> {
  const children = Array.from({ length: ranks }, (_, rank) =>
    fork(import.meta.filename, ['rank', JSON.stringify({ rank, ranks, kind } satisfies Shared)]),
  )
  const ports = await Promise.all(
    children.map(async child => ((await once(child, 'message')) as [{ port: number }])[0].port),
  )
  const results = children.map(async child => ((await once(child, 'message')) as [{ times: number[][] }])[0].times)
  for (const child of children) child.send({ ports })
  const [first] = await Promise.all(results)
  return first as number[][]
}

/** ms to pass each size through one bare loopback socket, within this process. */
async function bareSocket(): Promise<readonly number[]> {
  const server = net.createServer({ noDelay: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const target = new Uint8Array(1 << 20)
  let left = 0
  let done = () => {}
  const accepted = once(server, 'connection') as Promise<[net.Socket]>
  const receiver = net.connect({
    port: (server.address() as net.AddressInfo).port,
    noDelay: true,
    onread: {
      buffer: target,
      callback: bytes => {
        left -= bytes
        if (left === 0) done()
        return true
      },
    },
  })
  const [sender] = await accepted
  const source = new Uint8Array(maxBytes)
  const medians: number[] = []
  for (const [bytes, rounds] of sizes) {
    const times: number[] = []
    for (let i = 0; i < rounds; i++) {
      const start = performance.now()
      left = bytes
      const arrived = new Promise<void>(resolve => {
        done = resolve
      })
      sender.write(source.subarray(0, bytes))
      await arrived
      times.push(performance.now() - start)
    }
    medians.push(median(times))
  }
  receiver.destroy()
  sender.destroy()
  server.close()
  return medians
}

function memcpy(): readonly number[] {
  const [from, to] = [new Uint8Array(maxBytes), new Uint8Array(maxBytes)]
  return sizes.map(([bytes, rounds]) => {
    const times = Array.from({ length: rounds }, () => {
      const start = performance.now()
      to.set(from.subarray(0, bytes))
      return performance.now() - start
    })
    return median(times)
  })
}

const median = (times: readonly number[]) => times.toSorted((a, b) => a - b)[times.length >> 1] as number

const [first, second] = process.argv.slice(2)
if (first === 'rank') await rankMain(JSON.parse(second as string) as Shared)
else {
  const options = process.argv.slice(2)
  const asJson = options.includes('--json')
  const counts = options.filter(option => option !== '--json').map(Number)
  const [socketMs, memcpyMs] = [await bareSocket(), memcpy()]
  for (const ranks of counts.length > 0 ? counts : [2, 4]) {
    const raw = await measure(ranks, 'raw')
    const ws = await measure(ranks, 'ws')
    for (const [i, [bytes]] of sizes.entries()) {
      const samples = raw[i] as readonly number[]
      const [ours, peer] = [median(samples), median(ws[i] as readonly number[])]
      const floor = socketMs[i] as number
      if (asJson) {
        const row = {
          bench: 'all-reduce',
          case: `${ranks} ranks, ${bytes} B`,
          unit: 'ms',
          ours,
          peer: { name: 'ws lanes', value: peer },
        }
        console.log(JSON.stringify({ ...row, floor, ratio: peer / ours, samples }))
        continue
      }
      const spread = `${Math.min(...samples).toFixed(2)}–${Math.max(...samples).toFixed(2)}`
      const size = bytes < 1 << 20 ? `${bytes >> 10} KiB` : `${bytes >> 20} MiB`
      console.log(
        `${ranks} ranks ${size.padStart(7)}: raw ${ours.toFixed(3)} ms (${spread}), ws ${peer.toFixed(3)}, bare socket ${floor.toFixed(3)}, memcpy ${(memcpyMs[i] as number).toFixed(3)}`,
      )
    }
  }
}

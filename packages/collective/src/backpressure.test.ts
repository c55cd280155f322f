import { attachLanes, type LaneKind, listen } from '@skein/transport'
import { expect, test } from 'vitest'
import { groupAlone } from './group-alone.test.support.ts'
import { connectGroup } from './node/connect-group.ts'
import { maxUnflushedFrames } from './outgoing-lane.ts'
import type { TensorRegion } from './region.ts'

const elems = 1 << 24
const segmentBytes = 1 << 16
/** What the two kernels of a loopback connection may hold at most: net.ipv4.tcp_wmem and tcp_rmem, or what a Unix socket holds. */
const kernelBytes = 40 << 20

async function pair(kind: LaneKind) {
  const listeners = [await listen(), await listen()]
  const addresses = listeners.map(({ port }) => ({ host: '127.0.0.1', port }))
  const members = await Promise.all(
    listeners.map(async ({ server }, rank) => {
      const { arena, group } = groupAlone({ rank, ranks: 2, segmentBytes, tensorBytes: elems * 4 })
      const door = attachLanes(server).open({ generation: 1, rank, worldSize: 2, token: 't' })
      await connectGroup(group, { door, addresses, token: 't', kind, timeoutMs: 5000 })
      const { byteOffset } = arena.alloc('values', elems * 4)
      const region: TensorRegion = { byteOffset, elems, dtype: 'float32' }
      // Every page is touched before anything is measured.
      const view = new Float32Array(arena.memory.buffer, byteOffset, elems).fill(rank === 0 ? 3 : 1)
      return { group, region, view }
    }),
  )
  const close = async () => {
    for (const { group } of members) group.close()
    for (const listener of listeners) await listener.close()
  }
  return { members, close }
}

test.each(['raw', 'ws'] as const)(
  'a receiver that does not receive holds its sender up, over %s lanes, and neither fills memory',
  async kind => {
    const { members, close } = await pair(kind)
    const [sender, receiver] = members as [(typeof members)[0], (typeof members)[0]]
    const before = process.memoryUsage()
    const sent = sender.group.send(sender.region, 1)
    let handedOver = -1
    for (let seen = 0; seen !== handedOver; await new Promise(resolve => setTimeout(resolve, 100))) {
      handedOver = seen
      seen = sender.group.bytesSent
    }
    // Standing still: what the kernel took, and the frames that wait for it.
    expect(handedOver).toBeLessThanOrEqual(kernelBytes + maxUnflushedFrames * segmentBytes)
    expect(handedOver).toBeLessThan(elems * 4)
    const held = process.memoryUsage()
    // Raw lanes copy nothing; WebSocket lanes hold at most the unflushed frames, once more as their own, and what they have read ahead.
    expect(held.external + held.arrayBuffers - before.external - before.arrayBuffers).toBeLessThan(
      4 * maxUnflushedFrames * segmentBytes,
    )
    await Promise.all([sent, receiver.group.recv(receiver.region, 0)])
    expect(receiver.view.every(x => x === 3)).toBe(true)
    await close()
  },
  30_000,
)

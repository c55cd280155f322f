import { createGroup, type Group, scratchBytesFor, type TensorRegion } from '@skein/collective'
import { findSlowLink } from '@skein/diagnosis'
import { createSharedMemory, createSimd, SharedArena } from '@skein/simd'
import { attachLanes, dialLane, listen } from '@skein/transport'
import { expect, test } from 'vitest'
import { shapeProxy } from './shape-proxy.ts'

const ranks = 3
const elems = 400_000
const segmentBytes = 256 * 1024
const token = 'token-of-this-test'
const wait = { timeoutMs: 10_000 }

interface World extends AsyncDisposable {
  readonly groups: readonly Group[]
  readonly regions: readonly TensorRegion[]
}

/** Three ranks in this process, joined by links of 400 Mbit/s; those that `rateOf` names have another rate. */
async function connect(rateOf: (src: number, dst: number) => number): Promise<World> {
  const ends = await Promise.all(
    Array.from({ length: ranks }, async (_, rank) => {
      const listener = await listen()
      const door = attachLanes(listener.server).open({ generation: 1, rank, worldSize: ranks, token })
      const scratchBytes = scratchBytesFor(ranks, { segmentBytes })
      const arena = new SharedArena(createSharedMemory(elems * 4 + scratchBytes + 4096))
      const group = createGroup({
        rank,
        worldSize: ranks,
        generation: 1,
        memory: arena.memory,
        simd: createSimd(arena.memory),
        scratch: arena.alloc('scratch', scratchBytes),
        segmentBytes,
      })
      const { byteOffset } = arena.alloc('values', elems * 4)
      const region: TensorRegion = { byteOffset, elems, dtype: 'float32' }
      return { listener, door, group, region }
    }),
  )
  const proxies = await Promise.all(
    ends.flatMap(({ listener }, src) =>
      ends.flatMap(({ group }, dst) => {
        if (src === dst) return []
        const rateMbit = rateOf(src, dst)
        return shapeProxy({ to: { port: listener.port }, rateMbit, seed: src * ranks + dst }).then(async proxy => {
          const place = { kind: 'raw', token, generation: 1, rank: dst, peer: src } as const
          const dial = { host: proxy.host, port: proxy.port, ...place, sink: group.sink(src), ...wait }
          group.attachReader(await dialLane(dial))
          return proxy
        })
      }),
    ),
  )
  for (const { door, group } of ends) {
    for (let peer = 0; peer < ranks; peer++) {
      if (peer !== group.rank) group.attachWriter(await door.lane(peer, wait))
    }
  }
  return {
    groups: ends.map(({ group }) => group),
    regions: ends.map(({ region }) => region),
    async [Symbol.asyncDispose]() {
      for (const { group } of ends) group.close()
      await Promise.all(proxies.map(proxy => proxy.close()))
      await Promise.all(ends.map(({ listener }) => listener.close()))
    },
  }
}

/** Three all-reduces, in which rank 2 comes 100 ms late, and what the records of the ranks say of the links. */
async function slowLinkAfterThree({ groups, regions }: World, algorithm: 'ring' | 'direct') {
  for (let i = 0; i < 3; i++) {
    const enter = (rank: number) => groups[rank]?.allReduce(regions[rank] as TensorRegion, { algorithm })
    const early = [enter(0), enter(1)]
    await new Promise(resolve => setTimeout(resolve, 100))
    await Promise.all([...early, enter(2)])
  }
  return findSlowLink(groups.map((group, rank) => ({ rank, ageMs: 0, ops: group.flightReport() })))
}

test.each(['ring', 'direct'] as const)(
  'a link of a tenth of the rate is named after three ops of a %s, not the late rank',
  async algorithm => {
    await using world = await connect((src, dst) => (src === 0 && dst === 1 ? 40 : 400))
    const slow = await slowLinkAfterThree(world, algorithm)
    expect(slow).toMatchObject({ src: 0, dst: 1, numOps: 3 })
    // 40 Mbit/s are 5 MB/s; the first bytes of a frame wait in the kernel for the link to be free.
    expect(slow?.bytesPerSecond).toBeGreaterThan(4e6)
    expect(slow?.bytesPerSecond).toBeLessThan(8e6)
  },
)

test.each(['ring', 'direct'] as const)(
  'links alike: none is named after three ops of a %s, though a rank comes late',
  async algorithm => {
    await using world = await connect(() => 100)
    expect(await slowLinkAfterThree(world, algorithm)).toBeUndefined()
  },
)

import type { SkeinError } from '@skein/core'
import { allReduceAlgorithms } from '@skein/plan'
import type { SharedArena } from '@skein/simd'
import { attachLanes, dialLane, type LaneKind, listen } from '@skein/transport'
import { afterEach, describe, expect, test } from 'vitest'
import type { Group } from './group.ts'
import { groupAlone } from './group-alone.test.support.ts'
import type { TensorRegion } from './region.ts'
import { scratchBytesFor } from './scratch-bytes.ts'

interface Member {
  readonly group: Group
  readonly arena: SharedArena
  readonly failures: { readonly code: string; readonly peer: number }[]
}

const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

/** Groups of one process, joined by real loopback sockets. */
async function connect(ranks: number, kind: LaneKind, segmentBytes: number): Promise<readonly Member[]> {
  const wait = { timeoutMs: 10_000 }
  const token = 'token-of-this-test'
  const ends = await Promise.all(
    Array.from({ length: ranks }, async (_, rank) => {
      const listener = await listen()
      const door = attachLanes(listener.server).open({ generation: 1, rank, worldSize: ranks, token })
      const failures: Member['failures'] = []
      const onFailure = ({ code }: SkeinError, peer: number) => failures.push({ code, peer })
      const { arena, group } = groupAlone({ rank, ranks, segmentBytes, tensorBytes: 8 << 20, onFailure })
      closers.push(async () => {
        group.close()
        await listener.close()
      })
      return { listener, door, member: { group, arena, failures } }
    }),
  )
  const links: Promise<void>[] = []
  for (const [rank, { door, member }] of ends.entries()) {
    for (const [peer, other] of ends.entries()) {
      if (peer === rank) continue
      const { group } = member
      const dial = {
        port: other.listener.port,
        kind,
        token,
        generation: 1,
        rank,
        peer,
        sink: group.sink(peer),
        ...wait,
      }
      links.push(dialLane(dial).then(reader => group.attachReader(reader)))
      links.push(door.lane(peer, wait).then(writer => group.attachWriter(writer)))
    }
  }
  await Promise.all(links)
  return ends.map(end => end.member)
}

function regionOf({ arena }: Member, elems: number, value: (i: number) => number): TensorRegion {
  const { byteOffset } = arena.alloc('values', elems * 4)
  const region: TensorRegion = { byteOffset, elems, dtype: 'float32' }
  const view = viewOf({ arena }, region)
  for (let i = 0; i < elems; i++) view[i] = value(i)
  return region
}

function viewOf({ arena }: Pick<Member, 'arena'>, region: TensorRegion): Float32Array {
  return new Float32Array(arena.memory.buffer, region.byteOffset, region.elems)
}

describe.each(['raw', 'ws'] as const)('over %s lanes', kind => {
  test('every collective is right among four ranks, many under way', async () => {
    const members = await connect(4, kind, 4096)
    // Whole numbers: float32 sums of them are exact in any order.
    const value = (rank: number) => (i: number) => (i % 1000) * (rank + 1)
    const total = (elems: number) => Float32Array.from({ length: elems }, (_, i) => (i % 1000) * 10)
    for (const elems of [1, 5000, 300_001]) {
      const results = await Promise.all(
        members.map(async (member, rank) => {
          const { group } = member
          const make = () => regionOf(member, Math.min(elems, 100_000), value(rank))
          const [ring, tree, star, sent] = [make(), make(), make(), make()]
          await Promise.all([
            group.allReduce(ring, { algorithm: 'ring' }),
            group.allReduce(tree, { algorithm: 'tree' }),
            group.barrier(),
            group.allReduce(star, { algorithm: 'star' }),
            group.broadcast(sent, 2),
          ])
          return [ring, tree, star, sent].map(region => viewOf(member, region).slice())
        }),
      )
      for (const [ring, tree, star, sent] of results) {
        const sum = total(Math.min(elems, 100_000))
        expect(ring).toEqual(sum)
        expect(tree).toEqual(sum)
        expect(star).toEqual(sum)
        expect(sent).toEqual(Float32Array.from({ length: sum.length }, (_, i) => value(2)(i)))
      }
    }
    expect(members.flatMap(m => m.failures)).toEqual([])
  })

  test('a buffer that is written the moment its op is done spoils nobody else', async () => {
    const members = await connect(3, kind, 1 << 18)
    const elems = 300_000
    const regions = members.map(member => regionOf(member, elems, () => 0))
    for (let round = 1; round <= 20; round++) {
      await Promise.all(
        members.map(async (member, rank) => {
          const region = regions[rank] as TensorRegion
          const view = viewOf(member, region)
          view.fill(round)
          await member.group.allReduce(region, { algorithm: round % 2 === 0 ? 'ring' : 'tree' })
          const wrong = view.findIndex(x => x !== 3 * round)
          view.fill(Number.NaN)
          expect({ rank, round, wrong }).toEqual({ rank, round, wrong: -1 })
        }),
      )
    }
  })

  test('when one rank goes in the middle of an op, the others get a typed error that names it', async () => {
    const members = await connect(3, kind, 4096)
    const handles = members.map(member =>
      member.group.allReduce(
        regionOf(member, 200_000, i => i),
        { algorithm: 'ring' },
      ),
    )
    members[1]?.group.close()
    const outcomes = await Promise.allSettled(handles)
    expect(outcomes.map(o => (o.status === 'rejected' ? (o.reason as { code: string }).code : 'done'))).toEqual([
      'SKEIN_COLLECTIVE_PEER_LOST',
      'SKEIN_COLLECTIVE_CLOSED',
      'SKEIN_COLLECTIVE_PEER_LOST',
    ])
    for (const rank of [0, 2]) expect(members[rank]?.failures).toHaveLength(1)
    expect(members[0]?.group.failure?.details).toMatchObject({ op: 'ring all-reduce', opSeq: 0 })
  })

  test('groups that close one after another at the end report nothing', async () => {
    const members = await connect(3, kind, 4096)
    await Promise.all(members.map(member => member.group.barrier()))
    for (const close of closers.splice(0)) await close()
    expect(members.flatMap(member => member.failures)).toEqual([])
  })
})

test('sixteen ranks on one machine: 240 lanes, every algorithm, and memory as the formula says', async () => {
  const members = await connect(16, 'raw', 4096)
  for (const algorithm of Object.keys(allReduceAlgorithms).filter(name => name !== 'recursive-doubling')) {
    const regions = members.map((member, rank) => regionOf(member, 10_000, i => (i % 100) + rank))
    await Promise.all(members.map(({ group }, rank) => group.allReduce(regions[rank] as TensorRegion, { algorithm })))
    const wanted = Float32Array.from({ length: 10_000 }, (_, i) => 16 * (i % 100) + 120)
    for (const [rank, region] of regions.entries()) expect(viewOf(members[rank] as Member, region)).toEqual(wanted)
  }
  expect(scratchBytesFor(16, { segmentBytes: 4096 })).toBe(15 * 4096)
  expect(members.flatMap(m => m.failures)).toEqual([])
}, 30_000)

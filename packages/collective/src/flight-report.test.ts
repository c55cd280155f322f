import { findMissing, type FlightRecord } from '@skein/diagnosis'
import { maxFlightOps } from '@skein/wire'
import { expect, test } from 'vitest'
import type { Algorithm } from './op-kind.ts'
import { normals, World } from './world.test.support.ts'

const ranks = 4
const elems = 600
const algorithms: readonly Algorithm[] = [
  'ring',
  'tree',
  'direct',
  'halving-doubling',
  'recursive-doubling',
  'double-tree',
]

/** All ranks but those in `without` enter an all-reduce; until nothing moves. */
async function enter(world: World, algorithm: Algorithm, without: readonly number[] = []): Promise<void> {
  for (const rank of world.members.keys()) {
    if (without.includes(rank)) continue
    const region = world.region(rank, normals(elems, rank))
    void world.member(rank).group.allReduce(region, { algorithm })
  }
  await world.scheduler.run()
}

const reportsOf = (world: World): FlightRecord[] =>
  world.members.map(({ group }, rank) => ({ rank, ageMs: 0, ops: group.flightReport() }))

test.each(algorithms)('%s: every frame that a report counts as sent is counted by its receiver', async algorithm => {
  const world = new World({ ranks, seed: 7 })
  await enter(world, algorithm)
  const reports = reportsOf(world)
  for (const { rank, ops } of reports) {
    const [op] = ops
    expect(op).toMatchObject({ opSeq: 0, channel: 0, name: `${algorithm} all-reduce`, elems, leftAgoMs: 0 })
    for (const traffic of op?.peers ?? []) {
      expect(traffic).toMatchObject({ framesSent: traffic.framesToSend, framesReceived: traffic.framesToReceive })
      const there = reports[traffic.peer]?.ops[0]?.peers.find(({ peer }) => peer === rank)
      expect(there?.framesReceived).toBe(traffic.framesSent)
    }
  }
  const sent = world.members.reduce((sum, { group }) => sum + group.bytesSent, 0)
  const received = reports.flatMap(({ ops }) => ops[0]?.peers ?? []).reduce((sum, one) => sum + one.bytesReceived, 0)
  expect(received).toBe(sent)
})

test.each(algorithms)(
  '%s: the reports name the rank that has not entered, and how long the others wait',
  async algorithm => {
    const world = new World({ ranks, seed: 3 })
    await enter(world, algorithm)
    world.nowMs = 1000
    await enter(world, algorithm, [2])
    world.nowMs = 4000
    const missing = findMissing(reportsOf(world))
    expect(missing).toMatchObject({ ranks: [2], waitedMs: 3000, op: { opSeq: 1 } })
  },
)

test('a frame that is coming in is in the report with its age, and the time of complete ones adds up', async () => {
  const world = new World({ ranks: 2, seed: 5 })
  // Time passes with every turn of the scheduler: a frame comes in over several of them.
  const passing = 400
  for (let i = 0; i < passing; i++) world.scheduler.later(() => (world.nowMs += 1))
  await enter(world, 'ring')
  const [done] = reportsOf(world).map(({ ops }) => ops[0]?.peers[0])
  expect(done?.receivingMs).toBeGreaterThan(0)
  expect(done?.receivingMs).toBeLessThanOrEqual(passing)
  expect(done).not.toHaveProperty('inFrameMs')
})

test('a report holds the last ops, oldest first, and no messages', async () => {
  const world = new World({ ranks: 1, seed: 1 })
  const { group } = world.member(0)
  for (let i = 0; i < 40; i++) await group.barrier()
  expect(group.flightReport().map(({ opSeq }) => opSeq)).toEqual(
    Array.from({ length: maxFlightOps }, (_, i) => 40 - maxFlightOps + i),
  )
  const pair = new World({ ranks: 2, seed: 1 })
  const region = pair.region(0, normals(4))
  const target = pair.region(1, normals(4))
  await Promise.all([pair.member(0).group.send(region, 1), pair.member(1).group.recv(target, 0), pair.scheduler.run()])
  expect(pair.member(0).group.flightReport()).toEqual([])
})

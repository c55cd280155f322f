import { CoreErrors, SkeinError } from '@skein/core'
import { createSharedMemory, createSimd } from '@skein/simd'
import { useTestSeed } from '@skein/testkit'
import type { FrameHeader } from '@skein/wire'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createGroup } from './group.ts'
import { encodeOpCode } from './op-kind.ts'
import type { TensorRegion } from './region.ts'
import { normals, World } from './world.test.support.ts'

useTestSeed()

/** Codes of the errors that each rank's op ended with. */
const codesOf = (outcomes: readonly PromiseSettledResult<unknown>[]) =>
  outcomes.map(outcome => (outcome.status === 'rejected' ? (outcome.reason as SkeinError).code : 'done'))

const sum = (world: World, elems: number) => (rank: number) =>
  world.member(rank).group.allReduce(world.region(rank, normals(elems, rank)), { algorithm: 'ring' })

describe('a fault at any frame of any lane of a small all-reduce ends it on every rank, with a typed error', () => {
  // Three ranks, blocks of 64 elements in segments of 16: 2 steps × 2 phases × 4 segments on each lane of the ring.
  const framesPerLane = 16
  const cases = [
    ['cut', 'SKEIN_COLLECTIVE_PEER_LOST'],
    ['cut in payload', 'SKEIN_COLLECTIVE_PEER_LOST'],
    ['flip payload bit', 'SKEIN_COLLECTIVE_CORRUPT'],
    ['garbage header', 'SKEIN_COLLECTIVE_BAD_FRAME'],
  ] as const

  test.each(cases)('%s', async (what, code) => {
    for (let frame = 0; frame < framesPerLane; frame++) {
      const from = frame % 3
      const fault = { what, frame, from, to: (from + 1) % 3 }
      const world = new World({ ranks: 3, seed: frame, segmentBytes: 64, fault })
      const outcomes = await world.each(sum(world, 192))
      const codes = codesOf(outcomes)
      // A rank that had all it needed before the fault may have ended well; a later op of it must not.
      expect(codes).toContain(code)
      for (const [rank, outcome] of outcomes.entries()) {
        if (outcome.status === 'fulfilled') continue
        const error = outcome.reason as SkeinError
        expect(error).toBeInstanceOf(SkeinError)
        expect({ rank, retry: error.retry }).toEqual({ rank, retry: 'next-generation' })
        expect(error.details).toEqual(expect.objectContaining({ peer: expect.any(Number), opSeq: 0 }))
        expect(error.message).toMatch(/rank \d/)
        expect(error.message).toContain('ring all-reduce #0 of 192 elements')
      }
      const reported = world.members.flatMap(member => member.failures)
      expect(reported.length).toBeGreaterThan(0)
      for (const member of world.members) expect(member.failures.length).toBeLessThanOrEqual(1)
      for (const { group } of world.members) {
        await expect(group.barrier()).rejects.toThrow(expect.objectContaining({ code: expect.any(String) }))
      }
      for (const lane of world.lanes.values()) expect(lane.isClosed).toBe(true)
    }
  })

  test('even when nobody tells the others: closed lanes do', async () => {
    const fault = { what: 'cut', frame: 2, from: 0, to: 1 } as const
    const world = new World({ ranks: 5, seed: 1, segmentBytes: 64, fault, coordinated: false })
    expect(codesOf(await world.each(sum(world, 400)))).toEqual(Array(5).fill('SKEIN_COLLECTIVE_PEER_LOST'))
  })
})

test('after a rejection nothing writes the region any more', async () => {
  const fault = { what: 'cut in payload', frame: 3, from: 0, to: 1 } as const
  const world = new World({ ranks: 3, seed: 5, segmentBytes: 64, fault })
  const regions = world.members.map((_, rank) => world.region(rank, normals(192, rank)))
  await world.each(async rank => {
    const region = regions[rank] as TensorRegion
    try {
      await world.member(rank).group.allReduce(region)
    } finally {
      world.view(rank, region).fill(rank)
    }
  })
  for (const [rank, region] of regions.entries()) {
    expect(world.view(rank, region)).toEqual(new Float32Array(192).fill(rank))
  }
})

describe('ranks that do not run the same collective are told so, with both sides named', () => {
  type Call = (world: World, rank: number, elems: number) => Promise<unknown>
  const calls: Readonly<Record<string, Call>> = {
    ring: (w, r, n) => w.member(r).group.allReduce(w.region(r, normals(n, r)), { algorithm: 'ring' }),
    tree: (w, r, n) => w.member(r).group.allReduce(w.region(r, normals(n, r)), { algorithm: 'tree' }),
    scatter: (w, r, n) => w.member(r).group.reduceScatter(w.region(r, normals(n, r))),
    gather: (w, r, n) => w.member(r).group.allGather(w.region(r, normals(n, r))),
    barrier: (w, r) => w.member(r).group.barrier(),
  }
  const names = Object.keys(calls)

  /** Who finds it says so first; who only sees that one's lanes close says that. */
  const expectMismatch = (world: World, codes: readonly string[]) => {
    expect(world.reports[0]?.code).toBe('SKEIN_COLLECTIVE_MISMATCH')
    for (const code of codes) expect(code).toMatch(/^SKEIN_COLLECTIVE_(MISMATCH|PEER_LOST)$/)
  }

  test('another kind or algorithm', async () => {
    for (const [i, one] of names.entries()) {
      for (const other of names.slice(i + 1)) {
        const world = new World({ ranks: 2, seed: i })
        const codes = codesOf(await world.each(rank => (calls[rank === 0 ? one : other] as Call)(world, rank, 40)))
        expectMismatch(world, codes)
      }
    }
  })

  test('another size', async () => {
    const world = new World({ ranks: 3, seed: 2 })
    const outcomes = await world.each(rank => (calls['ring'] as Call)(world, rank, rank === 1 ? 41 : 40))
    expectMismatch(world, codesOf(outcomes))
    expect(world.reports[0]?.message).toMatch(
      /rank \d sent chunk 0 of 1[34] elements .* of ring all-reduce #0 of 4[01] elements where rank \d expects .* of ring all-reduce #0 of 4[01] elements/,
    )
  })

  test('another root', async () => {
    const world = new World({ ranks: 3, seed: 2 })
    const outcomes = await world.each(rank =>
      world.member(rank).group.broadcast(world.region(rank, normals(9, rank)), rank === 2 ? 1 : 0),
    )
    // A root that sent what nobody took may be done; the others are told, and so is its next op.
    expect(codesOf(outcomes)).toContain('SKEIN_COLLECTIVE_MISMATCH')
    for (const { group } of world.members) await expect(group.barrier()).rejects.toBeInstanceOf(SkeinError)
  })

  test('one collective more than the others', async () => {
    const world = new World({ ranks: 3, seed: 2 })
    const outcomes = await world.each(async rank => {
      if (rank === 1) void (calls['barrier'] as Call)(world, rank, 0).catch(() => undefined)
      await (calls['ring'] as Call)(world, rank, 30)
    })
    expectMismatch(world, codesOf(outcomes))
  })

  test('messages of another size', async () => {
    const world = new World({ ranks: 2, seed: 2 })
    const outcomes = await world.each(rank => {
      const region = world.region(rank, normals(10 + rank, 1))
      const { group } = world.member(rank)
      return rank === 0 ? group.send(region, 1, 5) : group.recv(region, 0, 5)
    })
    expect(codesOf(outcomes)).toContain('SKEIN_COLLECTIVE_MISMATCH')
  })
})

test('kinds of frames that have no place on a lane end the group', async () => {
  const blank = {
    dtype: 'uint8',
    flags: 0,
    generation: 7,
    opSeq: 0,
    fromRank: 1,
    algorithm: 0,
    chunk: 0,
    opElems: 0,
    tag: 0,
    payloadChecksum: 0,
  } as const
  for (const frame of [
    { ...blank, kind: 'abort', count: 3, payloadBytes: 3 },
    { ...blank, kind: 'hello', count: 0, payloadBytes: 0 },
  ] as const) {
    const world = new World({ ranks: 2, seed: 1 })
    await world.scheduler.run()
    world.lane(1, 0).inject(frame, new Uint8Array(frame.payloadBytes))
    await world.scheduler.run()
    expect(world.member(0).group.failure?.code).toBe('SKEIN_COLLECTIVE_BAD_FRAME')
  }
})

test('a frame of another generation is refused', async () => {
  const world = new World({ ranks: 2, seed: 2, generation: rank => 7 + rank })
  expect(codesOf(await world.each(sum(world, 10)))).not.toContain('done')
  expect(world.reports[0]?.code).toBe('SKEIN_COLLECTIVE_STALE_GENERATION')
})

test('any well-formed header from a peer that lies is answered with a typed error or waits; nothing throws', async () => {
  const field = (max: number) => fc.oneof(fc.nat(12), fc.nat(max))
  const headers = fc
    .record({
      opSeq: field(2 ** 31),
      algorithm: fc.oneof(
        fc.constant(encodeOpCode('all-reduce', 'ring')),
        fc.constant(encodeOpCode('message', 'direct')),
        fc.nat(0xffff),
      ),
      chunk: field(2 ** 31),
      count: fc.nat(64),
      opElems: field(2 ** 31),
      tag: field(2 ** 31),
      fromRank: fc.constantFrom(1, 1, 1, 0, 60_000),
      generation: fc.constantFrom(7, 7, 7, 8),
      payloadChecksum: fc.nat(),
      dtype: fc.constantFrom('float32', 'int32'),
    })
    .map(h => ({ kind: 'data', flags: 0, payloadBytes: h.count * 4, ...h }) as FrameHeader)
  await fc.assert(
    fc.asyncProperty(fc.array(headers, { minLength: 1, maxLength: 4 }), fc.nat(), async (lies, seed) => {
      const world = new World({ ranks: 2, seed })
      await world.scheduler.run()
      const region = world.region(0, normals(24, 1))
      const handle = world.member(0).group.allReduce(region)
      let outcome = 'running'
      handle.then(
        () => (outcome = 'done'),
        (error: SkeinError) => (outcome = error.code),
      )
      for (const lie of lies) world.lane(1, 0).inject(lie, new Uint8Array(lie.payloadBytes))
      await world.scheduler.run()
      expect(outcome).toMatch(/^(running|SKEIN_COLLECTIVE_(MISMATCH|STALE_GENERATION|CORRUPT))$/)
      world.member(0).group.close()
      await expect(handle).rejects.toBeInstanceOf(SkeinError)
    }),
    { numRuns: 300 },
  )
})

test('abort rejects what is under way and what comes later with its error, once, and reports nothing', async () => {
  const world = new World({ ranks: 3, seed: 4 })
  const error = new SkeinError(CoreErrors.ABORTED, { what: 'rank 9 left', todo: 'nothing' })
  const { group, failures } = world.member(0)
  const handles = [group.barrier(), group.allReduce(world.region(0, normals(10, 1)))]
  group.abort(error)
  group.abort(new SkeinError(CoreErrors.INTERNAL, { what: 'too late', todo: 'nothing' }))
  group.close()
  for (const handle of [...handles, group.barrier()]) await expect(handle).rejects.toBe(error)
  expect(group.failure).toBe(error)
  expect(failures).toEqual([])
  expect(group.flightLog().map(entry => entry.outcome)).toEqual(Array(3).fill('SKEIN_ABORTED'))
  await world.scheduler.run()
  // Its lanes were attached after the abort: they are closed all the same, and the others notice when they need them.
  expect(world.lane(0, 1).isClosed && world.lane(2, 0).isClosed).toBe(true)
  await expect(world.member(1).group.barrier()).rejects.toMatchObject({ code: 'SKEIN_COLLECTIVE_PEER_LOST' })
})

test('a rank that closes in good order hurts only who still needs it', async () => {
  const world = new World({ ranks: 3, seed: 4, coordinated: false })
  await world.each(rank => world.member(rank).group.barrier())
  world.member(2).group.close()
  await world.scheduler.run()
  expect(world.reports).toEqual([])
  const [zero, one] = [world.member(0).group, world.member(1).group]
  const [out, into] = [world.region(0, normals(5, 1)), world.region(1, new Float32Array(5))]
  const message = [zero.send(out, 1), one.recv(into, 0)]
  await world.scheduler.run()
  await Promise.all(message)
  const late = zero.barrier()
  await expect(late).rejects.toMatchObject({ code: 'SKEIN_COLLECTIVE_PEER_LOST', details: { peer: 2 } })
  expect(zero.failure?.message).toContain('the lane with rank 2 is gone')
  await world.scheduler.run()
  expect(world.member(0).failures).toHaveLength(1)
})

test('an idle group reports a lost lane, too', async () => {
  const world = new World({ ranks: 2, seed: 4, coordinated: false })
  await world.scheduler.run()
  world.lane(0, 1).close('reset')
  await world.scheduler.run()
  expect(world.member(1).failures[0]?.peer).toBe(0)
  expect(world.member(1).failures[0]?.error.message).toContain(
    'the lane from rank 0 closed: reset, during a pause between collectives',
  )
})

test("a caller's mistakes reject one call and leave the group as it is", async () => {
  const world = new World({ ranks: 2, seed: 4 })
  const { group, arena } = world.member(0)
  const region = world.region(0, normals(10, 1))
  const partner = world.region(1, normals(10, 2))
  const handle = group.allReduce(region)
  const part: TensorRegion = { ...region, byteOffset: region.byteOffset + 8, elems: 1 }
  await expect(group.allReduce(part)).rejects.toMatchObject({ code: 'SKEIN_COLLECTIVE_BUSY' })
  await expect(group.send(part, 1)).rejects.toMatchObject({ code: 'SKEIN_COLLECTIVE_BUSY' })
  const wrong: TensorRegion[] = [
    { ...region, byteOffset: 3 },
    { ...region, byteOffset: -4 },
    { ...region, elems: 1.5 },
    { ...region, elems: arena.memory.buffer.byteLength },
    { ...region, dtype: 'uint8' as 'float32' },
  ]
  for (const bad of wrong) {
    await expect(group.allReduce(bad)).rejects.toMatchObject({ code: 'SKEIN_COLLECTIVE_ARGUMENT' })
  }
  await expect(group.broadcast(region, 2)).rejects.toMatchObject({ code: 'SKEIN_COLLECTIVE_ARGUMENT' })
  await expect(group.send(region, 0)).rejects.toMatchObject({ code: 'SKEIN_COLLECTIVE_ARGUMENT' })
  await expect(group.recv(region, 1, -1)).rejects.toMatchObject({ code: 'SKEIN_COLLECTIVE_ARGUMENT' })
  expect(() => group.sink(0)).toThrow(expect.objectContaining({ code: 'SKEIN_COLLECTIVE_ARGUMENT' }))
  const other = world.member(1).group.allReduce(partner)
  await world.scheduler.run()
  expect((await Promise.all([handle, other])).map(r => r.bytesSent)).toEqual([40, 40])
})

test('memory is lent to an all-to-all of unequal blocks from the call on, while the counts still go round', async () => {
  const world = new World({ ranks: 2, seed: 5 })
  const { group } = world.member(0)
  const input = world.region(0, Float32Array.of(1, 2, 3))
  const output = world.region(0, new Float32Array(2))
  const counts = [1, 2]
  const first = group.allToAll(input, output, { counts })
  for (const region of [input, output])
    await expect(group.allReduce(region)).rejects.toMatchObject({ code: 'SKEIN_COLLECTIVE_BUSY' })
  const there = world.region(1, Float32Array.of(4, 5))
  const here = world.region(1, new Float32Array(3))
  const second = world.member(1).group.allToAll(there, here, { counts: [1, 1] })
  await world.scheduler.run()
  await Promise.all([first, second])
  expect([...world.view(0, output)]).toEqual([1, 4])
  expect([...world.view(1, here)]).toEqual([2, 3, 5])
})

test('a group refuses impossible sizes and too little scratch', () => {
  const memory = createSharedMemory(1 << 16)
  const fine = { rank: 0, worldSize: 2, generation: 1, memory, simd: createSimd(memory), segmentBytes: 64 }
  const make =
    (change: object, bytes = 64) =>
    () =>
      createGroup({ ...fine, scratch: { byteOffset: 0, bytes }, ...change })
  expect(make({})).not.toThrow()
  for (const change of [{ rank: 2 }, { worldSize: 0 }, { segmentBytes: 60 }, { segmentBytes: 0 }, { worldSize: 3 }]) {
    expect(make(change)).toThrow(expect.objectContaining({ code: 'SKEIN_COLLECTIVE_ARGUMENT' }))
  }
})

import { useTestSeed } from '@skein/testkit'
import { blockRange } from '@skein/plan'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { OpResult } from './op-run.ts'
import type { TensorRegion } from './region.ts'
import { normals, World } from './world.test.support.ts'

useTestSeed()

const worlds = fc.record({
  ranks: fc.integer({ min: 1, max: 8 }),
  seed: fc.nat(),
  segmentBytes: fc.constantFrom(64, 256, 4096),
})
const elemsFor = (ranks: number, pick: number) => [0, 1, ranks - 1, ranks, 101, 1000][pick % 6] as number

/** Runs one op on all ranks; what each rank's region held the moment its handle settled, after which it is overwritten. */
async function runAll(
  world: World,
  inputs: readonly Float32Array[],
  op: (rank: number, region: TensorRegion) => Promise<OpResult>,
): Promise<readonly { readonly values: Float32Array; readonly result: OpResult }[]> {
  const regions = inputs.map((values, rank) => world.region(rank, values))
  const outcomes = await world.each(async rank => {
    const region = regions[rank] as TensorRegion
    const result = await op(rank, region)
    const values = world.view(rank, region).slice()
    world.view(rank, region).fill(Number.NaN)
    return { values, result }
  })
  return outcomes.map(outcome => {
    if (outcome.status === 'rejected') throw outcome.reason
    return outcome.value
  })
}

function expectSum(actual: Float32Array, inputs: readonly Float32Array[], from = 0, to = actual.length): void {
  for (let i = from; i < to; i++) {
    let sum = 0
    let magnitude = 0
    for (const input of inputs) {
      sum += input[i] as number
      magnitude += Math.abs(input[i] as number)
    }
    // Each of the N-1 additions rounds by at most u = 2^-24 of a partial sum, itself at most Σ|x| (1 + N u).
    const bound = (inputs.length - 1) * 2 ** -24 * magnitude * 1.0001
    expect(Math.abs((actual[i] as number) - sum)).toBeLessThanOrEqual(bound)
  }
}

describe('under any order of frames, pieces and flushes', () => {
  test('an all-reduce is the sum within its bound, and the same bits on all ranks', async () => {
    await fc.assert(
      fc.asyncProperty(
        worlds,
        fc.nat(),
        fc.constantFrom(undefined, 'ring', 'tree', 'star'),
        async (options, pick, algorithm) => {
          const world = new World(options)
          const inputs = world.members.map((_, rank) => normals(elemsFor(options.ranks, pick), options.seed, rank))
          const outputs = await runAll(world, inputs, (rank, region) =>
            world.member(rank).group.allReduce(region, algorithm === undefined ? {} : { algorithm }),
          )
          for (const { values } of outputs) {
            expectSum(values, inputs)
            expect(new Uint32Array(values.buffer)).toEqual(new Uint32Array(outputs[0]?.values.buffer as ArrayBuffer))
          }
        },
      ),
      { numRuns: 120 },
    )
  })

  test('reduce-scatter leaves the sum of block r on rank r', async () => {
    await fc.assert(
      fc.asyncProperty(worlds, fc.nat(), async (options, pick) => {
        const { ranks } = options
        const world = new World(options)
        const inputs = world.members.map((_, rank) => normals(elemsFor(ranks, pick), options.seed, rank))
        const outputs = await runAll(world, inputs, (rank, region) => world.member(rank).group.reduceScatter(region))
        for (const [rank, { values }] of outputs.entries()) {
          expectSum(values, inputs, ...blockRange(values.length, ranks, rank))
        }
      }),
      { numRuns: 40 },
    )
  })

  test('all-gather and broadcast copy bits', async () => {
    await fc.assert(
      fc.asyncProperty(worlds, fc.nat(), fc.nat(), async (options, pick, rootPick) => {
        const { ranks, seed } = options
        const root = rootPick % ranks
        const world = new World(options)
        const inputs = world.members.map((_, rank) => normals(elemsFor(ranks, pick), seed, rank))
        const gathered = await runAll(world, inputs, (rank, region) => world.member(rank).group.allGather(region))
        const expected = Float32Array.from(inputs[0] as Float32Array)
        for (const [rank, input] of inputs.entries()) {
          const [from, to] = blockRange(input.length, ranks, rank)
          expected.set(input.subarray(from, to), from)
        }
        for (const { values } of gathered) expect(values).toEqual(expected)
        const sent = await runAll(world, inputs, (rank, region) => world.member(rank).group.broadcast(region, root))
        for (const { values } of sent) expect(values).toEqual(inputs[root])
      }),
      { numRuns: 40 },
    )
  })

  test('many ops under way on different memory end right, whatever each rank awaits first', async () => {
    await fc.assert(
      fc.asyncProperty(worlds, async options => {
        const { ranks, seed } = options
        const world = new World(options)
        const sizes = [300, 5, 70, 1, 120]
        const inputs = sizes.map((n, op) => world.members.map((_, rank) => normals(n, seed, rank, op)))
        const outcomes = await world.each(async rank => {
          const { group } = world.member(rank)
          const regions = inputs.map(ofRank => world.region(rank, ofRank[rank] as Float32Array))
          const [a, b, c, d, e] = regions as [TensorRegion, TensorRegion, TensorRegion, TensorRegion, TensorRegion]
          const handles = [
            group.allReduce(a),
            group.allReduce(b),
            group.broadcast(c, ranks - 1),
            group.barrier(),
            group.allReduce(d),
            group.allReduce(e, { algorithm: 'tree' }),
          ]
          const copies: Float32Array[] = []
          const take = (region: TensorRegion, i: number) => () => {
            copies[i] = world.view(rank, region).slice()
            world.view(rank, region).fill(Number.NaN)
          }
          const [ha, hb, hc, barrier, hd, he] = handles
          await Promise.all([
            ha?.then(take(a, 0)),
            hb?.then(take(b, 1)),
            hc?.then(take(c, 2)),
            hd?.then(take(d, 3)),
            he?.then(take(e, 4)),
            barrier,
          ])
          return copies
        })
        for (const outcome of outcomes) {
          if (outcome.status === 'rejected') throw outcome.reason
          for (const [op, values] of outcome.value.entries()) {
            if (op === 2) expect(values).toEqual(inputs[2]?.[ranks - 1])
            else expectSum(values, inputs[op] as Float32Array[])
          }
        }
      }),
      { numRuns: 60 },
    )
  })

  test('messages find their tags, beside collectives, and say when they arrive', async () => {
    await fc.assert(
      fc.asyncProperty(
        worlds.filter(o => o.ranks > 1),
        async options => {
          const { ranks, seed } = options
          const world = new World(options)
          const outcomes = await world.each(async rank => {
            const { group } = world.member(rank)
            const [next, previous] = [(rank + 1) % ranks, (rank + ranks - 1) % ranks]
            const out = [1, 2, 3].map(tag => world.region(rank, normals(100 * tag, seed, rank, tag)))
            const into = [1, 2, 3].map(tag => world.region(rank, new Float32Array(100 * tag)))
            const sum = world.region(rank, normals(500, seed, rank))
            const arrivals: number[] = []
            const receive = async (i: number) => {
              const onArriving = () => void arrivals.push(i)
              const result = await group.recv(into[i] as TensorRegion, previous, i + 1, { onArriving })
              // Once, at the last of its frames, before it is over.
              expect(arrivals.filter(one => one === i)).toEqual([i])
              return result
            }
            const handles = [
              ...[0, 1].map(i => group.send(out[i] as TensorRegion, next, i + 1)),
              group.allReduce(sum),
              group.send(out[2] as TensorRegion, next, 3),
              // The lane brings tag 1 first: both are asked for before either is awaited.
              ...[1, 0, 2].map(receive),
            ]
            await Promise.all(handles)
            return into.map(region => world.view(rank, region).slice())
          })
          for (const [rank, outcome] of outcomes.entries()) {
            if (outcome.status === 'rejected') throw outcome.reason
            const previous = (rank + ranks - 1) % ranks
            expect(outcome.value).toEqual([1, 2, 3].map(tag => normals(100 * tag, seed, previous, tag)))
          }
        },
      ),
      { numRuns: 30 },
    )
  })
})

test('no rank leaves a barrier before the last has come', async () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    const world = new World({ ranks: 5, seed })
    const left = world.members.slice(1).map(({ group }) => group.barrier())
    let hasLeft = false
    for (const handle of left) void handle.then(() => (hasLeft = true))
    await world.scheduler.run()
    expect(hasLeft).toBe(false)
    await Promise.all([world.member(0).group.barrier(), world.scheduler.run()])
    await Promise.all(left)
  }
})

test('an op is done only when its last frame is flushed', async () => {
  const world = new World({ ranks: 2, seed: 3 })
  const lane = world.lane(1, 0)
  lane.holdFlushes = true
  const root = world.region(1, normals(10, 1))
  const other = world.region(0, new Float32Array(10))
  await world.scheduler.run()
  let isDone = false
  const sent = world.member(1).group.broadcast(root, 1)
  void sent.then(() => (isDone = true))
  await world.scheduler.run()
  // The frame stands on the lane, unread: rank 0 has not come that far.
  expect(isDone).toBe(false)
  const received = world.member(0).group.broadcast(other, 1)
  await world.scheduler.run()
  await Promise.all([sent, received])
  expect(world.view(0, other)).toEqual(normals(10, 1))
})

describe('bytes and frames', () => {
  test.each([2, 3, 4, 7])('counters of %i ranks equal the closed forms', async ranks => {
    const world = new World({ ranks, seed: ranks, segmentBytes: 128 })
    const elems = ranks * 40
    const inputs = world.members.map((_, rank) => normals(elems, rank))
    const ring = await runAll(world, inputs, (rank, region) =>
      world.member(rank).group.allReduce(region, { algorithm: 'ring' }),
    )
    const ringBytes = (2 * (ranks - 1) * elems * 4) / ranks
    for (const [rank, { result }] of ring.entries()) {
      expect(result.bytesSent).toBe(ringBytes)
      expect(world.member(rank).group.bytesSent).toBe(ringBytes)
      // Blocks of 160 B go in segments of 128 and 32 B.
      expect(world.member(rank).group.framesSent).toBe(2 * (ranks - 1) * 2)
    }
    const tree = await runAll(world, inputs, (rank, region) =>
      world.member(rank).group.allReduce(region, { algorithm: 'tree' }),
    )
    expect(tree.reduce((sum, { result }) => sum + result.bytesSent, 0)).toBe(2 * (ranks - 1) * elems * 4)
    const barrier = await runAll(world, inputs, rank => world.member(rank).group.barrier())
    for (const { result } of barrier) expect(result.bytesSent).toBe(0)
    const scatter = await runAll(world, inputs, (rank, region) => world.member(rank).group.reduceScatter(region))
    for (const { result } of scatter) expect(result.bytesSent).toBe(((ranks - 1) * elems * 4) / ranks)
  })
})

test('a result says how long the op took and how long this rank was ahead', async () => {
  const world = new World({ ranks: 2, seed: 1 })
  const [a, b] = [0, 1].map(rank => world.region(rank, normals(4, rank))) as [TensorRegion, TensorRegion]
  world.nowMs = 100
  const first = world.member(0).group.allReduce(a, { algorithm: 'ring' })
  await world.scheduler.run()
  world.nowMs = 130
  const second = world.member(1).group.allReduce(b, { algorithm: 'ring' })
  await world.scheduler.run()
  const op = { opSeq: 0, kind: 'all-reduce', algorithm: 'ring', elems: 4, bytesSent: 16, nonfinite: false }
  expect(await first).toEqual({ ...op, durMs: 30, waitMs: 30 })
  expect(await second).toEqual({ ...op, durMs: 0, waitMs: 0 })
  expect(world.member(0).group.flightLog()).toEqual([
    expect.objectContaining({
      opSeq: 0,
      kind: 'all-reduce',
      algorithm: 'ring',
      elems: 4,
      enteredMs: 100,
      firstArrivalMs: 130,
      leftMs: 130,
      outcome: 'done',
      bytesSent: 16,
    }),
  ])
})

test('the flight log keeps the last 256 ops, oldest first', async () => {
  const world = new World({ ranks: 1, seed: 1 })
  for (let i = 0; i < 300; i++) await world.member(0).group.barrier()
  const seqs = world
    .member(0)
    .group.flightLog()
    .map(entry => entry.opSeq)
  expect(seqs).toEqual(Array.from({ length: 256 }, (_, i) => i + 44))
})

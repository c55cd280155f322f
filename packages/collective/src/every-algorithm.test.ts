import { type CodecName, codecOf, codecs } from '@skein/codec'
import { seededRandom } from '@skein/core'
import { allReduceAlgorithms, blockRange, sentElems } from '@skein/plan'
import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { AllReduceOptions } from './collectives.ts'
import { planOf } from './plan-of.ts'
import type { TensorRegion } from './region.ts'
import { codedScratchBytes } from './scratch-bytes.ts'
import { normals, World } from './world.test.support.ts'

useTestSeed()

const allReduces = Object.keys(allReduceAlgorithms)
const countsFor = (ranks: number) => [...new Set([0, 1, ranks - 1, ranks, 997])]
const u = 2 ** -24
const codecNames = codecs.map(({ name }) => name)
/** By how much of the largest magnitude of its block a value may move. */
const maxErrors: Readonly<Record<CodecName, number>> = {
  int8: 0.5 / 127 + 2 ** -22,
  int4: 0.5 / 7 + 2 ** -22,
  fp16: 2 ** -11,
  bf16: 2 ** -8,
}

/** Runs an all-reduce on every rank; what each holds at the end, and the bytes each sent. */
async function allReduceAll(world: World, inputs: readonly Float32Array[], options: AllReduceOptions) {
  const regions = inputs.map((values, rank) => world.region(rank, values))
  const outcomes = await world.each(async rank => {
    const region = regions[rank] as TensorRegion
    const result = await world.member(rank).group.allReduce(region, options)
    return { result, values: world.view(rank, options.output ?? region).slice() }
  })
  return outcomes.map(outcome => {
    if (outcome.status === 'rejected') throw outcome.reason
    return outcome.value
  })
}

function exactSum(inputs: readonly Float32Array[]) {
  const sum = new Float64Array(inputs[0]?.length ?? 0)
  const magnitude = new Float64Array(sum.length)
  for (const input of inputs) {
    for (const [i, x] of input.entries()) {
      sum[i] = (sum[i] as number) + x
      magnitude[i] = (magnitude[i] as number) + Math.abs(x)
    }
  }
  return { sum, magnitude }
}

describe.each([...allReduces, 'hierarchical'])('%s all-reduce', algorithm => {
  test('among 1 to 16 ranks: within the bound of float64, the same bits everywhere, bytes as the plan says', async () => {
    for (let ranks = 1; ranks <= 16; ranks++) {
      const hosts = Array.from({ length: ranks }, (_, rank) => rank % Math.ceil(ranks / 3))
      for (const elems of countsFor(ranks)) {
        const world = new World({ ranks, seed: ranks * 1000 + elems, segmentBytes: 1024, hosts, poolBytes: 1 << 13 })
        const inputs = Array.from({ length: ranks }, (_, rank) => normals(elems, rank, ranks))
        const results = await allReduceAll(world, inputs, { algorithm })
        const { sum, magnitude } = exactSum(inputs)
        const plan = planOf({ kind: 'all-reduce', algorithm, ranks, elems, segmentElems: 256, root: 0, hosts })
        for (const [rank, { result, values }] of results.entries()) {
          expect(result.bytesSent).toBe(sentElems(plan, rank) * 4)
          expect(values).toEqual(results[0]?.values)
          for (let i = 0; i < elems; i++) {
            // Whatever the order, each of the N-1 additions rounds a partial sum of at most Σ|x|(1 + N u) by u.
            const bound = (ranks - 1) * u * (magnitude[i] as number) * 1.0001
            expect(Math.abs((values[i] as number) - (sum[i] as number))).toBeLessThanOrEqual(bound)
          }
        }
      }
    }
  })
})

test('a large one is right among four ranks by every algorithm', async () => {
  const elems = 1_000_000
  for (const algorithm of allReduces) {
    const world = new World({ ranks: 4, seed: 1, segmentBytes: 1 << 18, memoryBytes: 1 << 23, poolBytes: 1 << 22 })
    const inputs = Array.from({ length: 4 }, (_, rank) =>
      Float32Array.from({ length: elems }, (__, i) => (i % 1000) * (rank + 1)),
    )
    for (const { values } of await allReduceAll(world, inputs, { algorithm })) {
      expect(values.every((x, i) => x === (i % 1000) * 10)).toBe(true)
    }
  }
}, 30_000)

describe('with a codec', () => {
  const coded = ['ring', 'direct', 'tree', 'star', 'halving-doubling', 'double-tree']

  test.each(codecNames)(
    '%s: every rank holds the same rounded sum, within the hard bound, and sends encoded bytes',
    async codec => {
      for (const algorithm of coded) {
        for (const ranks of [1, 2, 3, 5, 8]) {
          for (const elems of [0, 1, 255, 256, 1500]) {
            const world = new World({
              ranks,
              seed: elems + ranks,
              segmentBytes: 512,
              poolBytes: codedScratchBytes(elems),
            })
            const inputs = Array.from({ length: ranks }, (_, rank) => {
              const random = seededRandom(rank, elems)
              return Float32Array.from({ length: elems }, () => random.nextNormal())
            })
            const results = await allReduceAll(world, inputs, { algorithm, codec })
            const { sum } = exactSum(inputs)
            const largest = Math.max(0, ...inputs.flatMap(input => [...input].map(Math.abs)))
            const { blockElems, encodedBytes } = codecOf(codec)
            const maxError = maxErrors[codec]
            // Each rank's values are rounded at most once on their way up and partial sums of k ranks at most ⌈N⌉ times: ring is the worst.
            let bound = 1e-6 * largest * ranks
            for (let k = 1; k <= ranks; k++) bound += k * largest * maxError * (1 + maxError) ** k
            const request = { kind: 'all-reduce', algorithm, ranks, elems, root: 0, codec } as const
            const segmentElems = Math.max(1, Math.floor(128 / encodedBytes(blockElems))) * blockElems
            const plan = planOf({ ...request, segmentElems })
            for (const [rank, { result, values }] of results.entries()) {
              expect(values).toEqual(results[0]?.values)
              expect(result.nonfinite).toBe(false)
              let bytes = 0
              for (const op of plan.ops[rank] ?? []) if (op.op === 'send') bytes += encodedBytes(op.to - op.from)
              expect(result.bytesSent).toBe(bytes)
              if (ranks === 1) continue
              for (let i = 0; i < elems; i++)
                expect(Math.abs((values[i] as number) - (sum[i] as number))).toBeLessThanOrEqual(bound)
            }
          }
        }
      }
    },
  )

  test('a value that is not finite is known to every rank', async () => {
    for (const algorithm of coded) {
      const world = new World({ ranks: 4, seed: 9, segmentBytes: 512, poolBytes: codedScratchBytes(1000) })
      const inputs = Array.from({ length: 4 }, () => new Float32Array(1000).fill(1))
      ;(inputs[2] as Float32Array)[700] = Number.POSITIVE_INFINITY
      const results = await allReduceAll(world, inputs, { algorithm, codec: 'int8' })
      expect(results.map(({ result }) => result.nonfinite)).toEqual([true, true, true, true])
      for (const { values } of results) {
        expect(values[700]).toBeNaN()
        expect(values[0]).toBeCloseTo(4, 5)
      }
    }
  })

  test('the residual is what rounding took from this rank’s own values', async () => {
    const elems = 1024
    const world = new World({ ranks: 4, seed: 3, segmentBytes: 512, poolBytes: codedScratchBytes(elems) })
    const inputs = Array.from({ length: 4 }, (_, rank) => normals(elems, rank))
    const outcomes = await world.each(async rank => {
      const region = world.region(rank, inputs[rank] as Float32Array)
      const residual = world.region(rank, new Float32Array(elems))
      await world.member(rank).group.allReduce(region, { algorithm: 'direct', codec: 'int8', residual })
      return { values: world.view(rank, region), residual: world.view(rank, residual) }
    })
    const all = outcomes.map(
      outcome => (outcome as PromiseFulfilledResult<{ values: Float32Array; residual: Float32Array }>).value,
    )
    for (const [rank, { residual }] of all.entries()) {
      const [from, to] = blockRange(elems, 4, rank)
      // The block that a rank owns is not sent as its own: nothing of it is lost before the sum.
      expect(residual.subarray(from, to).every(x => x === 0)).toBe(true)
      expect(residual.some(x => x !== 0)).toBe(true)
    }
    const { sum } = exactSum(inputs)
    for (let i = 0; i < elems; i++) {
      const lost = all.reduce((total, { residual }) => total + (residual[i] as number), 0)
      const owner = all[0]?.values[i] as number
      const block = [...sum].slice(i - (i % 256), i - (i % 256) + 256)
      const step = Math.max(...block.map(Math.abs)) / 127
      // What is left is the owner's one rounding of the sum.
      expect(Math.abs(owner + lost - (sum[i] as number))).toBeLessThanOrEqual(step * 0.52)
    }
  })
})

describe('types and reductions', () => {
  test('int32 sums, minima and maxima are exact by every algorithm', async () => {
    for (const algorithm of allReduces) {
      for (const op of ['sum', 'min', 'max'] as const) {
        const ranks = 5
        const world = new World({ ranks, seed: 4, segmentBytes: 64, poolBytes: 4096 })
        const values = Array.from({ length: ranks }, (_, rank) => {
          const random = seededRandom(rank, 17)
          return Array.from({ length: 101 }, () => random.nextInt(2_000_000) - 1_000_000)
        })
        const outcomes = await world.each(async rank => {
          const region = world.intRegion(rank, values[rank] as number[])
          await world.member(rank).group.allReduce(region, { algorithm, op })
          return [...world.intView(rank, region)]
        })
        const wanted = (values[0] as number[]).map((_, i) => {
          const column = values.map(row => row[i] as number)
          return op === 'sum'
            ? column.reduce((a, b) => a + b)
            : op === 'min'
              ? Math.min(...column)
              : Math.max(...column)
        })
        for (const outcome of outcomes) expect(outcome).toEqual({ status: 'fulfilled', value: wanted })
      }
    }
  })

  test('a mean is the sum divided by the ranks, where its result is', async () => {
    const ranks = 4
    const world = new World({ ranks, seed: 5, segmentBytes: 64 })
    const outcomes = await world.each(async rank => {
      const { group } = world.member(rank)
      const make = () => world.region(rank, new Float32Array(100).fill(rank + 1))
      const [all, scattered, reduced] = [make(), make(), make()]
      await Promise.all([
        group.allReduce(all, { op: 'mean' }),
        group.reduceScatter(scattered, { op: 'mean' }),
        group.reduce(reduced, 2, { op: 'mean' }),
      ])
      const [from, to] = blockRange(100, ranks, rank)
      return [
        world.view(rank, all).every(x => x === 2.5),
        world
          .view(rank, scattered)
          .subarray(from, to)
          .every(x => x === 2.5),
        rank !== 2 || world.view(rank, reduced).every(x => x === 2.5),
      ]
    })
    for (const outcome of outcomes) expect(outcome).toEqual({ status: 'fulfilled', value: [true, true, true] })
  })

  test('16-bit floats sum, and every rank holds the same bits', async () => {
    for (const dtype of ['float16', 'bfloat16'] as const) {
      const world = new World({ ranks: 3, seed: 6, segmentBytes: 64 })
      const outcomes = await world.each(async rank => {
        const { byteOffset } = world.member(rank).arena.alloc('halves', 202)
        const region: TensorRegion = { byteOffset, elems: 101, dtype }
        // 1, 2 and 4 in both formats: powers of two differ in their exponents alone.
        const one = dtype === 'float16' ? 0x3c00 : 0x3f80
        const step = dtype === 'float16' ? 0x400 : 0x80
        const view = new Uint16Array(world.member(rank).arena.memory.buffer, byteOffset, 101).fill(one + rank * step)
        await world.member(rank).group.allReduce(region, { algorithm: 'ring' })
        return [...new Set(view)]
      })
      // 7 = 1.75 · 4.
      const seven = dtype === 'float16' ? 0x4700 : 0x40e0
      for (const outcome of outcomes) expect(outcome).toEqual({ status: 'fulfilled', value: [seven] })
    }
  })

  test('an output apart leaves the input as it is', async () => {
    const world = new World({ ranks: 3, seed: 8, segmentBytes: 64 })
    const outcomes = await world.each(async rank => {
      const input = world.region(rank, new Float32Array(100).fill(rank + 1))
      const output = world.region(rank, new Float32Array(100).fill(Number.NaN))
      await world.member(rank).group.allReduce(input, { output })
      return [world.view(rank, input).every(x => x === rank + 1), world.view(rank, output).every(x => x === 6)]
    })
    for (const outcome of outcomes) expect(outcome).toEqual({ status: 'fulfilled', value: [true, true] })
  })
})

describe('collectives that move blocks', () => {
  test('gather, scatter and reduce do what they say from every root', async () => {
    for (let root = 0; root < 5; root++) {
      const world = new World({ ranks: 5, seed: root, segmentBytes: 64 })
      const outcomes = await world.each(async rank => {
        const { group } = world.member(rank)
        const own = (i: number) => rank * 1000 + i
        const make = () =>
          world.region(
            rank,
            Float32Array.from({ length: 103 }, (_, i) => own(i)),
          )
        const [gathered, scattered, reduced] = [make(), make(), make()]
        await Promise.all([group.gather(gathered, root), group.scatter(scattered, root), group.reduce(reduced, root)])
        return [gathered, scattered, reduced].map(region => world.view(rank, region).slice())
      })
      for (const [rank, outcome] of outcomes.entries()) {
        const [gathered, scattered, reduced] = (outcome as PromiseFulfilledResult<Float32Array[]>).value as [
          Float32Array,
          Float32Array,
          Float32Array,
        ]
        for (let block = 0; block < 5; block++) {
          const [from, to] = blockRange(103, 5, block)
          for (let i = from; i < to; i++) {
            if (rank === root) expect(gathered[i]).toBe(block * 1000 + i)
            if (rank === root) expect(reduced[i]).toBe(10_000 + 5 * i)
            if (rank === block) expect(scattered[i]).toBe(root * 1000 + i)
          }
        }
      }
    }
  })

  test('an all-to-all of equal blocks by every algorithm', async () => {
    for (const algorithm of ['pairwise', 'direct', 'bruck', 'two-level']) {
      for (const ranks of [1, 2, 4, 6]) {
        const hosts = Array.from({ length: ranks }, (_, rank) => rank % Math.max(1, ranks / 2))
        const world = new World({ ranks, seed: ranks, segmentBytes: 64, hosts })
        const size = 7
        const outcomes = await world.each(async rank => {
          const input = world.region(
            rank,
            Float32Array.from({ length: ranks * size }, (_, i) => rank * 1000 + i),
          )
          const output = world.region(rank, new Float32Array(ranks * size))
          await world.member(rank).group.allToAll(input, output, { algorithm })
          return [...world.view(rank, output)]
        })
        for (const [rank, outcome] of outcomes.entries()) {
          const wanted = Array.from(
            { length: ranks * size },
            (_, i) => Math.floor(i / size) * 1000 + rank * size + (i % size),
          )
          expect(outcome).toEqual({ status: 'fulfilled', value: wanted })
        }
      }
    }
  })

  test('an all-to-all of any counts, with other ops around it, in any order of frames', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 6 }), fc.nat(), async (ranks, seed) => {
        const random = seededRandom(seed)
        const counts = Array.from({ length: ranks }, () =>
          Array.from({ length: ranks }, () => (random.nextInt(3) === 0 ? 0 : random.nextInt(40))),
        )
        const world = new World({ ranks, seed, segmentBytes: 64 })
        const outcomes = await world.each(async rank => {
          const { group } = world.member(rank)
          const row = counts[rank] as number[]
          const input = world.region(
            rank,
            Float32Array.from({ length: row.reduce((a, b) => a + b, 0) }, (_, i) => rank * 1000 + i),
          )
          const output = world.region(
            rank,
            new Float32Array(counts.reduce((sum, from) => sum + (from[rank] as number), 0)),
          )
          const before = world.region(rank, new Float32Array(33).fill(1))
          const after = world.region(rank, new Float32Array(21).fill(2))
          const [, result] = await Promise.all([
            group.allReduce(before),
            group.allToAll(input, output, { counts: row }),
            group.allReduce(after),
          ])
          expect(world.view(rank, before).every(x => x === ranks)).toBe(true)
          expect(world.view(rank, after).every(x => x === 2 * ranks)).toBe(true)
          return { received: result.receivedCounts, values: [...world.view(rank, output)] }
        })
        for (const [rank, outcome] of outcomes.entries()) {
          const values = counts.flatMap((row, src) => {
            const at = row.slice(0, rank).reduce((a, b) => a + b, 0)
            return Array.from({ length: row[rank] as number }, (_, i) => src * 1000 + at + i)
          })
          expect(outcome).toEqual({ status: 'fulfilled', value: { received: counts.map(row => row[rank]), values } })
        }
      }),
      { numRuns: 60 },
    )
  })
})

test('an algorithm that cannot do it is refused before anything is sent, and the group goes on', async () => {
  const world = new World({ ranks: 3, seed: 21, segmentBytes: 64 })
  const outcomes = await world.each(async rank => {
    const { group } = world.member(rank)
    const make = () => world.region(rank, new Float32Array(9).fill(rank))
    const refused = { code: 'SKEIN_COLLECTIVE_ARGUMENT' }
    for (const algorithm of ['bruck', 'two-level', 'rink']) {
      await expect(group.allToAll(make(), make(), { counts: [3, 3, 3], algorithm })).rejects.toMatchObject(refused)
    }
    await expect(group.allToAll(make(), make(), { algorithm: 'two-level' })).rejects.toMatchObject(refused)
    await expect(group.reduceScatter(make(), { algorithm: 'halving' })).rejects.toMatchObject(refused)
    await expect(group.allReduce(make(), { algorithm: 'hierarchical' })).rejects.toMatchObject(refused)
    const sum = make()
    await group.allReduce(sum)
    return world.view(rank, sum)[0]
  })
  for (const outcome of outcomes) expect(outcome).toEqual({ status: 'fulfilled', value: 3 })
})

describe('urgent ops', () => {
  test('pass a large one whose lanes stand still', async () => {
    const world = new World({ ranks: 3, seed: 2, segmentBytes: 64, urgent: true })
    for (const [name, lane] of world.lanes) if (!name.endsWith('urgent')) lane.holdFlushes = true
    const order: string[] = []
    await world.each(async rank => {
      const { group } = world.member(rank)
      const large = world.region(rank, new Float32Array(4000).fill(1))
      const small = world.region(rank, new Float32Array(4).fill(1))
      await Promise.all([
        group.allReduce(large).then(() => order.push('large')),
        group.allReduce(small, { priority: 'urgent' }).then(() => order.push('small')),
      ])
      expect(world.view(rank, small)[0]).toBe(3)
    })
    expect(order.slice(0, 3)).toEqual(['small', 'small', 'small'])
  })

  test('are refused by a group without lanes for them', async () => {
    const world = new World({ ranks: 2, seed: 2 })
    const [outcome] = await world.each(rank => world.member(rank).group.barrier({ priority: 'urgent' }))
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'SKEIN_COLLECTIVE_ARGUMENT' } })
  })
})

describe('a cancelled op', () => {
  test('ends the group on every rank with an error that names who cancelled what, inputs untouched', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const world = new World({ ranks: 4, seed, segmentBytes: 64, coordinated: false })
      const cancel = new AbortController()
      const outcomes = await world.each(async rank => {
        const input = world.region(rank, new Float32Array(2000).fill(rank))
        const output = world.region(rank, new Float32Array(2000))
        const handle = world
          .member(rank)
          .group.allReduce(input, { output, ...(rank === 1 ? { signal: cancel.signal } : {}) })
        if (rank === 1) world.scheduler.later(() => cancel.abort(new Error('no longer wanted')))
        try {
          await handle
        } finally {
          expect(world.view(rank, input).every(x => x === rank)).toBe(true)
        }
      })
      for (const [rank, outcome] of outcomes.entries()) {
        if (outcome.status === 'fulfilled') continue
        const error = outcome.reason as { code: string; details: { peer: number } }
        expect(['SKEIN_COLLECTIVE_CANCELLED', 'SKEIN_COLLECTIVE_PEER_LOST']).toContain(error.code)
        if (rank === 1)
          expect(error).toMatchObject({ code: 'SKEIN_COLLECTIVE_CANCELLED', details: { peer: 1, opSeq: 0 } })
      }
      for (const { group } of world.members) expect(group.failure).toBeDefined()
    }
  })
})

test('ops that need more of the pool than is free wait for their turn; one that needs more than there is, is refused', async () => {
  const elems = 1000
  const world = new World({ ranks: 3, seed: 12, segmentBytes: 512, poolBytes: codedScratchBytes(elems) })
  const outcomes = await world.each(async rank => {
    const { group } = world.member(rank)
    const regions = Array.from({ length: 4 }, () => world.region(rank, new Float32Array(elems).fill(2)))
    await Promise.all(regions.map(region => group.allReduce(region, { codec: 'fp16' })))
    const large = world.region(rank, new Float32Array(4 * elems))
    await expect(group.allReduce(large, { codec: 'fp16' })).rejects.toMatchObject({ code: 'SKEIN_COLLECTIVE_ARGUMENT' })
    return regions.map(region => world.view(rank, region)[7])
  })
  for (const outcome of outcomes) expect(outcome).toEqual({ status: 'fulfilled', value: [6, 6, 6, 6] })
})

import { blockRange } from '@skein/plan'
import { useTestSeed } from '@skein/testkit'
import { describe, expect, test } from 'vitest'
import { measureLinks } from './measure-links.ts'
import type { OpRun } from './op-run.ts'
import type { TensorRegion } from './region.ts'
import { codedScratchBytes } from './scratch-bytes.ts'
import { tuneAllReduce } from './tune.ts'
import { normals, World } from './world.test.support.ts'

useTestSeed()

describe('the pool of a group', () => {
  test('is one for each priority: ops of two that begin in another order on each rank end all the same', async () => {
    const elems = 1024
    const world = new World({
      ranks: 2,
      seed: 5,
      segmentBytes: 1024,
      urgent: true,
      poolBytes: codedScratchBytes(elems),
    })
    const outcomes = await world.each(async rank => {
      const { group } = world.member(rank)
      const make = () => world.region(rank, new Float32Array(elems).fill(1))
      const regions = { normal: make(), urgent: make() }
      const order = rank === 0 ? (['normal', 'urgent'] as const) : (['urgent', 'normal'] as const)
      await Promise.all(order.map(priority => group.allReduce(regions[priority], { codec: 'int8', priority })))
      return [world.view(rank, regions.normal)[0], world.view(rank, regions.urgent)[0]]
    })
    for (const outcome of outcomes) expect(outcome).toEqual({ status: 'fulfilled', value: [2, 2] })
  })

  test('has no bytes that an op could be promised and never be given', async () => {
    const world = new World({ ranks: 4, seed: 6, poolBytes: 4000 })
    const outcomes = await world.each(async rank => {
      const { group } = world.member(rank)
      expect(group.rankAllReduce(4000).map(({ algorithm }) => algorithm)).not.toContain('recursive-doubling')
      const region = world.region(rank, new Float32Array(1000).fill(1))
      await group.allReduce(region, { algorithm: 'recursive-doubling' })
    })
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'SKEIN_COLLECTIVE_ARGUMENT' } })
    }
  })

  test('is all that is left of ops that have ended: the flight log holds no payload', async () => {
    const world = new World({ ranks: 2, seed: 7, poolBytes: codedScratchBytes(512) })
    await world.each(async rank => {
      const region = world.region(rank, new Float32Array(512).fill(1))
      await world.member(rank).group.allReduce(region, { codec: 'bf16' })
      const [entry] = world.member(rank).group.flightLog() as readonly OpRun[]
      expect(entry).toMatchObject({ outcome: 'done', kind: 'all-reduce' })
      expect(entry?.payload).toBeUndefined()
    })
  })
})

describe('arguments that used to be taken', () => {
  const refused = { status: 'rejected', reason: { code: 'SKEIN_COLLECTIVE_ARGUMENT' } }

  test('a reduction that there is none of, and an output that overlaps its input', async () => {
    const world = new World({ ranks: 2, seed: 8 })
    const outcomes = await world.each(async rank => {
      const { group } = world.member(rank)
      const region = world.region(rank, new Float32Array(64).fill(1))
      const [head, tail] = [0, 16].map(from => ({ ...region, byteOffset: region.byteOffset + from * 4, elems: 32 }))
      const wrong = [
        group.allReduce(region, { op: 'product' as 'sum' }),
        group.allReduce(head as TensorRegion, { output: tail as TensorRegion }),
      ]
      for (const outcome of await Promise.allSettled(wrong)) expect(outcome).toMatchObject(refused)
      await group.allReduce(region)
      return world.view(rank, region)[0]
    })
    for (const outcome of outcomes) expect(outcome).toEqual({ status: 'fulfilled', value: 2 })
  })

  test('a codec whose blocks are longer than a segment', async () => {
    const world = new World({ ranks: 2, seed: 9, segmentBytes: 256, poolBytes: codedScratchBytes(1024) })
    const outcomes = await world.each(rank =>
      world.member(rank).group.allReduce(world.region(rank, new Float32Array(1024)), { codec: 'int8' }),
    )
    for (const outcome of outcomes) expect(outcome).toMatchObject(refused)
  })

  test('memory too small to try algorithms or measure links in', async () => {
    const world = new World({ ranks: 2, seed: 10 })
    const outcomes = await world.each(async rank => {
      const { group } = world.member(rank)
      const region = world.region(rank, new Float32Array(64))
      const memory = { group, region, view: world.view(rank, region) }
      const wrong = [tuneAllReduce({ ...memory, sizes: [512] }), measureLinks(memory)]
      for (const outcome of await Promise.allSettled(wrong)) expect(outcome).toMatchObject(refused)
    })
    for (const outcome of outcomes) expect(outcome.status).toBe('fulfilled')
  })
})

test('an all-to-all that ends the group for a wrong output is told to the owner of the group', async () => {
  const world = new World({ ranks: 2, seed: 11 })
  await world.each(rank => {
    const input = world.region(rank, new Float32Array(4))
    const output = world.region(rank, new Float32Array(rank === 0 ? 3 : 4))
    return world.member(rank).group.allToAll(input, output, { counts: [2, 2] })
  })
  expect(world.member(0).failures.map(({ error }) => error.code)).toEqual(['SKEIN_COLLECTIVE_ARGUMENT'])
})

test('a mean of float16 that fits is right where the sum would not fit', async () => {
  const world = new World({ ranks: 4, seed: 12 })
  const outcomes = await world.each(async rank => {
    const { arena, group } = world.member(rank)
    const { byteOffset } = arena.alloc('float16', 64)
    const bits = new Uint16Array(arena.memory.buffer, byteOffset, 8).fill(0x74e2) // 20,000
    await group.allReduce({ byteOffset, elems: 8, dtype: 'float16' }, { op: 'mean' })
    return [...bits]
  })
  for (const outcome of outcomes) {
    expect(outcome).toEqual({ status: 'fulfilled', value: Array.from({ length: 8 }, () => 0x74e2) })
  }
})

test('what a rank does not lose is 0 in its residual, whatever was there before; alone it loses nothing', async () => {
  const elems = 1024
  for (const ranks of [1, 2]) {
    const world = new World({ ranks, seed: 13, poolBytes: codedScratchBytes(elems) })
    const outcomes = await world.each(async rank => {
      const region = world.region(rank, normals(elems, rank))
      world.view(rank, region)[3] = Number.NaN
      const residual = world.region(rank, new Float32Array(elems).fill(7))
      const { nonfinite } = await world.member(rank).group.allReduce(region, {
        algorithm: 'direct',
        codec: 'int8',
        residual,
      })
      const [from, to] = ranks === 1 ? [0, elems] : blockRange(elems, ranks, rank)
      return { nonfinite, own: [...world.view(rank, residual).subarray(from, to)].every(x => x === 0) }
    })
    for (const outcome of outcomes) {
      expect(outcome).toEqual({ status: 'fulfilled', value: { nonfinite: true, own: true } })
    }
  }
})

test('where hosts are known, the choice is made by them', async () => {
  const hosts = [0, 0, 0, 0, 1, 1, 1, 1]
  const across = { latencyMs: 10, msPerByte: 8e-6, msPerMessage: 0.01 }
  const links = { ...across, withinHost: { latencyMs: 0.01, msPerByte: 1e-7 } }
  for (const known of [hosts, undefined]) {
    const world = new World({ ranks: 8, seed: 14, ...(known === undefined ? {} : { hosts: known }) })
    await world.each(async rank => {
      const { group } = world.member(rank)
      group.setLinks(links)
      const region = world.region(rank, new Float32Array(1000).fill(1))
      const { algorithm } = await group.allReduce(region)
      if (known === undefined) expect(algorithm).not.toBe('hierarchical')
      else expect(algorithm).toBe('hierarchical')
      expect(world.view(rank, region)[999]).toBe(8)
    })
  }
})

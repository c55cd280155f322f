import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { SharedArena } from './shared-arena.ts'
import { createSharedMemory } from './shared-memory.ts'

test('regions are aligned, disjoint, zero, named, and never at offset 0', () => {
  const arena = new SharedArena(createSharedMemory(64 + 128 + 64))
  const regions = [arena.alloc('a', 1), arena.alloc('b', 65), arena.alloc('nothing', 0), arena.alloc('c', 64)]
  expect(regions.map(r => r.byteOffset)).toEqual([64, 128, 256, 256])
  expect(arena.ledger.map(r => r.name)).toEqual(['a', 'b', 'nothing', 'c'])
  expect(arena.float32(regions[3] ?? { byteOffset: 0, bytes: 0 })).toHaveLength(16)
  expect(arena.usedBytes).toBe(320)
})

test('an arena that is full says who wanted how much', () => {
  const arena = new SharedArena(createSharedMemory(1000))
  const free = arena.freeBytes
  arena.alloc('fits exactly', free)
  expect(() => arena.alloc('moments', 4)).toThrow(/"moments" wants 4 B and the arena has 0 B/)
  expect(() => new SharedArena(createSharedMemory(1000)).alloc('x', -1)).toThrow(
    expect.objectContaining({ code: 'SKEIN_SIMD_ARENA_FULL' }),
  )
})

test('a memory over 4 GiB is refused', () => {
  expect(() => createSharedMemory(2 ** 32)).toThrow(expect.objectContaining({ code: 'SKEIN_SIMD_MEMORY' }))
  expect(() => createSharedMemory(-1)).toThrow(expect.objectContaining({ code: 'SKEIN_SIMD_MEMORY' }))
})

test('what one thread writes in a region, another reads', async () => {
  const arena = new SharedArena(createSharedMemory(1000))
  const region = arena.alloc('shared', 8)
  const worker = new Worker(
    `const { workerData: { memory, region } } = require('node:worker_threads')
     new Float32Array(memory.buffer, region.byteOffset, 2)[1] = 42`,
    { eval: true, workerData: { memory: arena.memory, region } },
  )
  await new Promise(resolve => worker.once('exit', resolve))
  expect([...arena.float32(region)]).toEqual([0, 42])
})

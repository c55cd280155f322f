/**
 * WebAssembly SIMD kernels over one shared memory, each with a plain TypeScript twin.
 *
 * @example
 * const arena = new SharedArena(createSharedMemory(2 * 4096))
 * const [sum, part] = [arena.alloc('sum', 4096), arena.alloc('part', 4096)]
 * createSimd(arena.memory).add(sum.byteOffset, part.byteOffset, 1024)
 */
export { type AdamwOptions, adamwScalars } from './adamw-scalars.ts'
export { type AdamwBuffers, adamwSlabs, type Slab, type StateSlot } from './adamw-slabs.ts'
export { SimdErrors } from './errors.ts'
export { formatHash } from './format-hash.ts'
export { kernelModule, rangeCheck } from './kernel-module.ts'
export { type ArenaRegion, arenaAlignment, type Region, SharedArena } from './shared-arena.ts'
export { createSharedMemory, maxMemoryBytes, pageBytes, type SharedMemory } from './shared-memory.ts'
export { type AdamwStep, createSimd, type Hash64, type Simd } from './simd.ts'
export { adamwTwin, addTwin, hasNonFiniteTwin, scaleTwin, sumSquaresTwin } from './twins.ts'

import { SkeinError } from '@skein/core'
import { SimdErrors } from './errors.ts'
import { reservedBytes, type SharedMemory } from './shared-memory.ts'

/** A place in a shared memory. Plain data: it crosses threads as it is. */
export interface Region {
  readonly byteOffset: number
  readonly bytes: number
}

/** A region that an arena handed out. */
export interface ArenaRegion extends Region {
  readonly name: string
}

/** One cache line, and what TensorFlow wants before it takes a buffer without copying. */
export const arenaAlignment = 64

/**
 * Bump allocator over one shared memory: regions start at multiples of 64 B, live as long as the memory, and are named in a ledger.
 * One thread owns it; the regions are handed to the others.
 */
export class SharedArena {
  readonly memory: SharedMemory
  readonly #ledger: ArenaRegion[] = []
  #next = reservedBytes

  constructor(memory: SharedMemory) {
    this.memory = memory
  }

  /** Everything handed out, in order. */
  get ledger(): readonly ArenaRegion[] {
    return this.#ledger
  }

  get usedBytes(): number {
    return this.#next
  }

  get freeBytes(): number {
    return this.memory.buffer.byteLength - this.#next
  }

  /** A zeroed region of `bytes` B at a multiple of 64 B, its end padded to the next. @throws SKEIN_SIMD_ARENA_FULL */
  alloc(name: string, bytes: number): ArenaRegion {
    const padded = Math.ceil(bytes / arenaAlignment) * arenaAlignment
    if (!Number.isSafeInteger(bytes) || bytes < 0 || padded > this.freeBytes) {
      throw new SkeinError(SimdErrors.ARENA_FULL, {
        what: `"${name}" wants ${bytes} B and the arena has ${this.freeBytes} B of ${this.memory.buffer.byteLength} B left`,
        why: 'the memory was sized without counting it',
        todo: 'pass the sum of all regions, each rounded up to 64 B, to createSharedMemory',
        details: { name, bytes, freeBytes: this.freeBytes, ledger: this.#ledger.map(r => `${r.name}: ${r.bytes}`) },
      })
    }
    const region: ArenaRegion = { name, byteOffset: this.#next, bytes }
    this.#next += padded
    this.#ledger.push(region)
    return region
  }

  /** Float32 view of a region, [bytes / 4]. */
  float32(region: Region): Float32Array<SharedArrayBuffer> {
    return new Float32Array(this.memory.buffer, region.byteOffset, region.bytes / 4)
  }
}

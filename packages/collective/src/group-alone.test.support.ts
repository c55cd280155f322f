import type { SkeinError } from '@skein/core'
import { createSharedMemory, createSimd, SharedArena } from '@skein/simd'
import { createGroup } from './group.ts'
import { scratchBytesFor } from './scratch-bytes.ts'

/** A rank's group in a memory of its own, without lanes. */
export function groupAlone(options: {
  readonly rank: number
  readonly ranks: number
  readonly segmentBytes?: number
  readonly tensorBytes?: number
  readonly onFailure?: (error: SkeinError, peer: number) => void
}) {
  const { rank, ranks, segmentBytes, tensorBytes = 0, onFailure } = options
  const segments = segmentBytes === undefined ? {} : { segmentBytes }
  const scratchBytes = scratchBytesFor(ranks, segments)
  const arena = new SharedArena(createSharedMemory(tensorBytes + scratchBytes))
  const group = createGroup({
    rank,
    worldSize: ranks,
    generation: 1,
    memory: arena.memory,
    simd: createSimd(arena.memory),
    scratch: arena.alloc('scratch', scratchBytes),
    ...segments,
    ...(onFailure === undefined ? {} : { onFailure }),
  })
  return { arena, group }
}

import { SkeinError } from '@skein/core'
import type { Region } from '@skein/simd'
import { CollectiveErrors } from './errors.ts'
import { type ScratchSizes, scratchBytesFor } from './scratch-bytes.ts'

interface GroupShape extends ScratchSizes {
  readonly rank: number
  readonly worldSize: number
  readonly scratch: Region
  readonly hosts?: readonly number[]
}

/** @throws SKEIN_COLLECTIVE_ARGUMENT for a group that cannot be. */
export function checkGroup(options: GroupShape, segmentBytes: number): void {
  const { rank, worldSize, scratch, hosts } = options
  if (!(Number.isInteger(worldSize) && worldSize >= 1 && Number.isInteger(rank) && rank >= 0 && rank < worldSize)) {
    throw wrongArgument(`a group was made for rank ${rank} of ${worldSize}`, { rank, worldSize })
  }
  if (!(Number.isInteger(segmentBytes) && segmentBytes >= 64 && segmentBytes % 64 === 0)) {
    throw wrongArgument(`a group was made with segments of ${segmentBytes} B, not a multiple of 64`, { segmentBytes })
  }
  if (hosts !== undefined && hosts.length !== worldSize) {
    throw wrongArgument(`a group of ${worldSize} was given the hosts of ${hosts.length} ranks`, { hosts })
  }
  const needed = scratchBytesFor(worldSize, { ...options, segmentBytes, poolBytes: 0 })
  if (scratch.bytes < needed) {
    throw wrongArgument(`a group of ${worldSize} was given ${scratch.bytes} B of scratch and needs ${needed} B`, {
      needed,
    })
  }
}

export function wrongArgument(what: string, details: Readonly<Record<string, unknown>>): SkeinError {
  return new SkeinError(CollectiveErrors.ARGUMENT, {
    what,
    why: 'the caller computed it wrongly',
    todo: 'correct the caller',
    details,
  })
}

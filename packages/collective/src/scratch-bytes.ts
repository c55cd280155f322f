import { codecs } from '@skein/codec'

/** Long enough that system calls do not count, short enough for a core's own cache; measured in docs/lab-log.md. */
export const defaultSegmentBytes = 512 * 1024

export interface ScratchSizes {
  /** Longest payload of a frame; a multiple of 64, the same on all ranks, and with codecs no less than one of their blocks (int8: 260 B). Default 512 KiB. */
  readonly segmentBytes?: number
  /** Whether there are lanes for urgent ops, too. Default false. */
  readonly urgent?: boolean
  /** For ops that need memory of their own while they are under way, for those of each priority; in steps of 64. See `codedScratchBytes`. Default 0. */
  readonly poolBytes?: number
}

/** Bytes of scratch a group needs, and all that it ever holds: of each priority one segment per incoming lane, and a pool. */
export function scratchBytesFor(worldSize: number, sizes: ScratchSizes = {}): number {
  const { segmentBytes = defaultSegmentBytes, urgent = false, poolBytes = 0 } = sizes
  return (Math.max(0, worldSize - 1) * segmentBytes + poolBytes) * (urgent ? 2 : 1)
}

/** What a coded all-reduce of `elems` float32 takes of the pool, the largest of the codecs there are. */
export function codedScratchBytes(elems: number): number {
  return Math.max(...codecs.map(codec => codec.encodedBytes(elems))) + 64
}

import { SkeinError } from '@skein/core'
import { arenaAlignment, type Region } from '@skein/simd'
import { ParallelErrors } from '../errors.ts'

/** So many bytes, up to where the next buffer may begin. */
export const paddedBytes = (bytes: number) => Math.ceil(bytes / arenaAlignment) * arenaAlignment

export interface WantedMemory {
  readonly wanted: number
  /** Begins the sentence: "the messages of rank 0 need". */
  readonly whose: string
  /** The function that says how much it takes. */
  readonly sizedBy: string
  /** Of the schedule. */
  readonly name: string
}

/** @throws SKEIN_PARALLEL_MESSAGE_MEMORY */
export function assertMessageMemory({ bytes }: Region, { wanted, whose, sizedBy, name }: WantedMemory): void {
  if (wanted <= bytes) return
  throw new SkeinError(ParallelErrors.MESSAGE_MEMORY, {
    what: `${whose} ${wanted} B, and there are ${bytes} B`,
    why: 'the memory was sized for another schedule, or for another number of microbatches',
    todo: `size it by ${sizedBy}`,
    details: { wanted, bytes, name },
  })
}

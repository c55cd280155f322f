import { SkeinError } from '@skein/core'
import { CollectiveErrors } from './errors.ts'

/** Elements in the shared memory that a collective reads and writes in place. Plain data: it crosses threads as it is. */
export interface TensorRegion {
  /** A multiple of 4; of 64 for full speed. */
  readonly byteOffset: number
  readonly elems: number
  readonly dtype: 'float32'
}

export const regionBytes = (region: TensorRegion) => region.elems * 4

/** @throws SKEIN_COLLECTIVE_ARGUMENT unless the region is float32, aligned and inside the memory. */
export function checkRegion(region: TensorRegion, memoryBytes: number): void {
  const { byteOffset, elems, dtype } = region
  const whole = Number.isSafeInteger(byteOffset) && Number.isSafeInteger(elems) && byteOffset >= 0 && elems >= 0
  if (whole && byteOffset % 4 === 0 && byteOffset + elems * 4 <= memoryBytes && dtype === 'float32') return
  throw new SkeinError(CollectiveErrors.ARGUMENT, {
    what: `a collective was given ${elems} ${dtype} elements at byte ${byteOffset} of a memory of ${memoryBytes} B`,
    why: 'regions are float32, start at a multiple of 4 and lie inside the shared memory',
    todo: 'pass a region that the arena handed out, or a part of one',
    details: { byteOffset, elems, dtype, memoryBytes },
  })
}

export function regionsOverlap(a: TensorRegion, b: TensorRegion): boolean {
  return a.byteOffset < b.byteOffset + regionBytes(b) && b.byteOffset < a.byteOffset + regionBytes(a)
}

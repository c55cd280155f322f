import { dtypeBytes, SkeinError } from '@skein/core'
import { CollectiveErrors } from './errors.ts'

export const regionDTypes = ['float32', 'int32', 'float16', 'bfloat16'] as const
export type RegionDType = (typeof regionDTypes)[number]

/** Elements in the shared memory that a collective reads or writes. Plain data: it crosses threads as it is. */
export interface TensorRegion {
  /** A multiple of the element's size; of 64 for full speed. */
  readonly byteOffset: number
  readonly elems: number
  readonly dtype: RegionDType
}

export const regionBytes = (region: TensorRegion) => region.elems * dtypeBytes[region.dtype]

/** @throws SKEIN_COLLECTIVE_ARGUMENT unless the region is of a dtype for collectives, aligned and inside the memory. */
export function checkRegion(region: TensorRegion, memoryBytes: number): void {
  const { byteOffset, elems, dtype } = region
  const size = regionDTypes.includes(dtype) ? dtypeBytes[dtype] : 0
  const whole = Number.isSafeInteger(byteOffset) && Number.isSafeInteger(elems) && byteOffset >= 0 && elems >= 0
  if (whole && size > 0 && byteOffset % size === 0 && byteOffset + elems * size <= memoryBytes) return
  throw new SkeinError(CollectiveErrors.ARGUMENT, {
    what: `a collective was given ${elems} ${dtype} elements at byte ${byteOffset} of a memory of ${memoryBytes} B`,
    why: `regions are of ${regionDTypes.join(', ')}, start at a multiple of the element's size and lie inside the shared memory`,
    todo: 'pass a region that the arena handed out, or a part of one',
    details: { byteOffset, elems, dtype, memoryBytes },
  })
}

export function regionsOverlap(a: TensorRegion, b: TensorRegion): boolean {
  return a.byteOffset < b.byteOffset + regionBytes(b) && b.byteOffset < a.byteOffset + regionBytes(a)
}

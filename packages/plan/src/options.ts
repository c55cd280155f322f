import { SkeinError } from '@skein/core'
import { PlanErrors } from './errors.ts'
import type { PlanOptions } from './plan.ts'

/** @throws SKEIN_PLAN_OPTIONS unless ranks ≥ 1, elems ≥ 0 and segmentElems ≥ 1 are whole numbers. */
export function checkOptions(options: PlanOptions): void {
  const { ranks, elems, segmentElems = 1 } = options
  const fine = Number.isSafeInteger(ranks) && ranks >= 1 && Number.isSafeInteger(elems * ranks) && elems >= 0
  if (fine && segmentElems >= 1 && (Number.isSafeInteger(segmentElems) || segmentElems === Number.POSITIVE_INFINITY))
    return
  throw new SkeinError(PlanErrors.OPTIONS, {
    what: `a plan for ${ranks} ranks and ${elems} elements in segments of ${segmentElems} was asked for`,
    why: 'ranks and segments start at 1, elements at 0, all whole numbers',
    todo: 'correct the caller',
    details: { ranks, elems, segmentElems },
  })
}

/** @throws SKEIN_PLAN_OPTIONS unless `root` is one of the ranks. */
export function checkRoot(root: number, ranks: number): void {
  if (Number.isInteger(root) && root >= 0 && root < ranks) return
  throw new SkeinError(PlanErrors.OPTIONS, {
    what: `rank ${root} was named as root of ${ranks} ranks`,
    why: 'ranks are 0 … worldSize-1',
    todo: 'name one of them',
    details: { root, ranks },
  })
}

/** @throws SKEIN_PLAN_OPTIONS unless there is a host for every rank. */
export function checkHosts(hosts: readonly number[], ranks: number): void {
  if (hosts.length === ranks) return
  throw new SkeinError(PlanErrors.OPTIONS, {
    what: `${hosts.length} hosts were given for ${ranks} ranks`,
    why: 'the list names the host of each rank',
    todo: 'give one number a rank',
    details: { hosts, ranks },
  })
}

/** @throws SKEIN_PLAN_OPTIONS unless `counts` is a square of whole numbers from 0. */
export function checkCounts(counts: readonly (readonly number[])[]): void {
  const fine = (row: readonly number[]) =>
    row.length === counts.length && row.every(n => Number.isSafeInteger(n) && n >= 0)
  if (counts.length > 0 && counts.every(fine)) return
  throw new SkeinError(PlanErrors.OPTIONS, {
    what: `an all-to-all was asked for with the counts ${JSON.stringify(counts).slice(0, 200)}`,
    why: 'counts[s][d] is the number of elements from rank s to rank d, from 0',
    todo: 'give a row for each rank, as long as there are ranks',
    details: { ranks: counts.length },
  })
}

/** @throws SKEIN_PLAN_OPTIONS unless there are 2^k ranks. */
export function checkPowerOfTwo(ranks: number): void {
  if (isPowerOfTwo(ranks)) return
  throw new SkeinError(PlanErrors.OPTIONS, {
    what: `halving and doubling alone were asked of ${ranks} ranks`,
    why: 'without an all-reduce around them there is no place to fold the ranks beyond a power of two',
    todo: 'take another algorithm for this number of ranks',
    details: { ranks },
  })
}

export function isPowerOfTwo(ranks: number): boolean {
  return Number.isInteger(Math.log2(ranks))
}

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

import { type CodecName, codecOf } from '@skein/codec'
import { SkeinError } from '@skein/core'
import { collectiveAlgorithms } from '@skein/plan'
import { wrongArgument } from './check-group.ts'
import type { AllReduceOptions } from './collectives.ts'
import { CollectiveErrors } from './errors.ts'
import type { OpRun } from './op-run.ts'
import { checkRegion, regionsOverlap, type TensorRegion } from './region.ts'

/** @throws SKEIN_COLLECTIVE_ARGUMENT */
export function checkRank(rank: number, worldSize: number, role: string): void {
  if (Number.isInteger(rank) && rank >= 0 && rank < worldSize) return
  throw wrongArgument(`rank ${rank} was named as ${role} in a group of ${worldSize}`, { rank })
}

/** @throws SKEIN_COLLECTIVE_ARGUMENT */
export function checkCodec(
  codec: CodecName,
  region: TensorRegion,
  { op = 'sum', residual }: AllReduceOptions,
  memoryBytes: number,
): void {
  codecOf(codec)
  if (region.dtype !== 'float32' || (op !== 'sum' && op !== 'mean')) {
    throw wrongArgument(`a ${op} of ${region.dtype} was asked for with the codec ${codec}`, { codec, op })
  }
  if (residual === undefined) return
  checkRegion(residual, memoryBytes)
  if (residual.elems === region.elems && residual.dtype === 'float32') return
  throw wrongArgument(`a residual of ${residual.elems} ${residual.dtype} was given for ${region.elems} float32`, {})
}

/** Counts that this rank sends to each: known to the others only later. @throws SKEIN_COLLECTIVE_ARGUMENT */
export function checkCounts(counts: readonly number[], ranks: number, elems: number, algorithm: string): void {
  const sent = counts.reduce((sum, count) => sum + count, 0)
  if (counts.length !== ranks || counts.some(n => !Number.isSafeInteger(n) || n < 0) || sent !== elems) {
    const what = `an all-to-all of ${elems} elements among ${ranks} ranks was given the counts ${counts.join(' ')}`
    throw wrongArgument(what, { counts })
  }
  if (collectiveAlgorithms['all-to-all'][algorithm]?.needs !== 'nothing') {
    throw wrongArgument(`the algorithm ${algorithm} was asked for an all-to-all with counts`, { algorithm })
  }
}

/** Two ops under way may share memory only if neither writes it. @throws SKEIN_COLLECTIVE_BUSY */
export function checkFree(
  running: Iterable<OpRun>,
  reads: readonly TensorRegion[],
  writes: readonly TensorRegion[],
): void {
  for (const run of running) {
    const clash =
      overlapOf(writes, run.parts.writes) ?? overlapOf(writes, run.parts.reads) ?? overlapOf(reads, run.parts.writes)
    if (clash === undefined) continue
    throw new SkeinError(CollectiveErrors.BUSY, {
      what: `${clash.elems} elements at byte ${clash.byteOffset} are still used by ${run.describe()}`,
      why: 'its handle has not settled',
      todo: 'await it before the next op on the same memory',
      details: { byteOffset: clash.byteOffset, elems: clash.elems, opSeq: run.opSeq },
    })
  }
}

/** The first region that shares memory with one of the others. */
function overlapOf(regions: readonly TensorRegion[], others: readonly TensorRegion[]): TensorRegion | undefined {
  return regions.find(region => others.some(other => regionsOverlap(region, other)))
}

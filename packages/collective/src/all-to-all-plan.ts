import { bruckAllToAll, type CollectivePlan, directAllToAll, pairwiseAllToAll, twoLevelAllToAll } from '@skein/plan'
import { wrongArgument } from './check-group.ts'

export interface EqualBlocks {
  readonly ranks: number
  readonly blockElems: number
  readonly segmentElems: number
  readonly hosts: readonly number[] | undefined
}

/** @throws SKEIN_COLLECTIVE_ARGUMENT for an algorithm that is not there, or that needs hosts which are not known */
export function equalAllToAll(
  algorithm: string,
  { ranks, blockElems, segmentElems, hosts }: EqualBlocks,
): CollectivePlan {
  if (algorithm === 'bruck') return bruckAllToAll({ ranks, blockElems })
  if (algorithm !== 'two-level') {
    const counts = Array.from({ length: ranks }, () => Array<number>(ranks).fill(blockElems))
    return variableAllToAll(algorithm, counts, segmentElems)
  }
  if (hosts !== undefined) return twoLevelAllToAll({ hosts, blockElems })
  throw wrongArgument('an all-to-all in two levels was asked of a group that does not know its hosts', { algorithm })
}

/** counts[s][d] elements from rank s to rank d. @throws SKEIN_COLLECTIVE_ARGUMENT */
export function variableAllToAll(
  algorithm: string,
  counts: readonly (readonly number[])[],
  segmentElems: number,
): CollectivePlan {
  if (algorithm === 'pairwise') return pairwiseAllToAll({ counts, segmentElems })
  if (algorithm === 'direct') return directAllToAll({ counts, segmentElems })
  throw wrongArgument(`the algorithm ${algorithm} was asked for an all-to-all with these counts`, { algorithm })
}

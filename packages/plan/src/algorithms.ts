import { SkeinError } from '@skein/core'
import { bruckAllToAll, directAllToAll, pairwiseAllToAll, twoLevelAllToAll } from './all-to-all.ts'
import { disseminationBarrier } from './barrier.ts'
import { binomialGather, binomialScatter, bruckAllGather } from './block-runs.ts'
import { directAllGather, directAllReduce, directGather, directReduceScatter, directScatter } from './direct.ts'
import { doubleTreeAllReduce } from './double-tree.ts'
import { PlanErrors } from './errors.ts'
import { doublingAllGather, halvingDoublingAllReduce, halvingReduceScatter } from './halving-doubling.ts'
import { hierarchicalAllReduce, ranksByHost } from './hierarchical.ts'
import { isPowerOfTwo } from './options.ts'
import type { CollectiveKind, CollectivePlan, PlanOptions } from './plan.ts'
import { recursiveDoublingAllReduce } from './recursive-doubling.ts'
import { ringAllGather, ringAllReduce, ringReduceScatter } from './ring.ts'
import { starAllReduce } from './star.ts'
import { binomialBroadcast, binomialReduce, treeAllReduce } from './tree.ts'

type Generate = (options: PlanOptions) => CollectivePlan
type GenerateRooted = (options: PlanOptions & { readonly root: number }) => CollectivePlan

/** All-reduce for any number of ranks; the hierarchical one also wants to know the hosts. */
export const allReduceAlgorithms = {
  ring: ringAllReduce,
  tree: treeAllReduce,
  star: starAllReduce,
  direct: directAllReduce,
  'recursive-doubling': recursiveDoublingAllReduce,
  'halving-doubling': halvingDoublingAllReduce,
  'double-tree': doubleTreeAllReduce,
} as const satisfies Readonly<Record<string, Generate>>
export type AllReduceAlgorithm = keyof typeof allReduceAlgorithms

/** Halving is for 2^k ranks. */
export const reduceScatterAlgorithms = {
  ring: ringReduceScatter,
  direct: directReduceScatter,
  halving: halvingReduceScatter,
} as const satisfies Readonly<Record<string, Generate>>
/** Doubling is for 2^k ranks. */
export const allGatherAlgorithms = {
  ring: ringAllGather,
  direct: directAllGather,
  bruck: bruckAllGather,
  doubling: doublingAllGather,
} as const satisfies Readonly<Record<string, Generate>>
export const rootedAlgorithms = {
  broadcast: { tree: binomialBroadcast },
  reduce: { tree: binomialReduce },
  gather: { direct: directGather, tree: binomialGather },
  scatter: { direct: directScatter, tree: binomialScatter },
} as const satisfies Readonly<Record<string, Readonly<Record<string, GenerateRooted>>>>

/** All that some algorithm may want to know. */
export interface AlgorithmSizes extends PlanOptions {
  /** Default 0. */
  readonly root?: number
  /** Host of each rank, as any numbers. */
  readonly hosts?: readonly number[]
  /** counts[s][d] of an all-to-all; default ⌊elems / ranks⌋ each: `elems` is a rank's input. */
  readonly counts?: readonly (readonly number[])[]
}

/** What an algorithm asks beyond a number of ranks and elements. */
export type AlgorithmNeed = 'nothing' | 'power of two' | 'hosts' | 'equal counts' | 'equal counts, hosts of equal size'

export interface AlgorithmEntry {
  readonly needs: AlgorithmNeed
  /** Only for sizes that meet the need, which `generatePlan` sees to. */
  readonly generate: (sizes: AlgorithmSizes) => CollectivePlan
}

const countsOf = ({ ranks, elems, counts }: AlgorithmSizes) =>
  counts ?? Array.from({ length: ranks }, () => Array<number>(ranks).fill(Math.floor(elems / ranks)))
const blockOf = (sizes: AlgorithmSizes) => countsOf(sizes)[0]?.[0] ?? 0
const variable = (sizes: AlgorithmSizes) => ({
  counts: countsOf(sizes),
  ...(sizes.segmentElems === undefined ? {} : { segmentElems: sizes.segmentElems }),
})

const entries = (generators: Readonly<Record<string, Generate>>): Record<string, AlgorithmEntry> =>
  Object.fromEntries(
    Object.entries(generators).map(([name, generate]) => [
      name,
      { needs: name === 'halving' || name === 'doubling' ? 'power of two' : 'nothing', generate },
    ]),
  )
const rootedEntries = (generators: Readonly<Record<string, GenerateRooted>>): Record<string, AlgorithmEntry> =>
  entries(
    Object.fromEntries(
      Object.entries(generators).map(([name, generate]): [string, Generate] => [
        name,
        (sizes: AlgorithmSizes) => generate({ ...sizes, root: sizes.root ?? 0 }),
      ]),
    ),
  )

/** Every algorithm there is, by kind and name. */
export const collectiveAlgorithms: Readonly<Record<CollectiveKind, Readonly<Record<string, AlgorithmEntry>>>> = {
  'all-reduce': {
    ...entries(allReduceAlgorithms),
    hierarchical: { needs: 'hosts', generate: sizes => hierarchicalAllReduce({ ...sizes, hosts: sizes.hosts ?? [] }) },
  },
  'reduce-scatter': entries(reduceScatterAlgorithms),
  'all-gather': entries(allGatherAlgorithms),
  broadcast: rootedEntries(rootedAlgorithms.broadcast),
  reduce: rootedEntries(rootedAlgorithms.reduce),
  gather: rootedEntries(rootedAlgorithms.gather),
  scatter: rootedEntries(rootedAlgorithms.scatter),
  'all-to-all': {
    pairwise: { needs: 'nothing', generate: sizes => pairwiseAllToAll(variable(sizes)) },
    direct: { needs: 'nothing', generate: sizes => directAllToAll(variable(sizes)) },
    bruck: {
      needs: 'equal counts',
      generate: sizes => bruckAllToAll({ ranks: sizes.ranks, blockElems: blockOf(sizes) }),
    },
    'two-level': {
      needs: 'equal counts, hosts of equal size',
      generate: sizes => twoLevelAllToAll({ hosts: sizes.hosts ?? [], blockElems: blockOf(sizes) }),
    },
  },
  barrier: { dissemination: { needs: 'nothing', generate: ({ ranks }) => disseminationBarrier({ ranks }) } },
}

/** Names of the algorithms of a kind whose needs these sizes meet. */
export function algorithmsFor(kind: CollectiveKind, sizes: AlgorithmSizes): readonly string[] {
  const table = collectiveAlgorithms[kind]
  return Object.keys(table).filter(name => isMet((table[name] as AlgorithmEntry).needs, sizes))
}

/**
 * The plan of an algorithm by name.
 * @throws SKEIN_PLAN_OPTIONS for a name that the kind does not have, a need that is not met, or impossible sizes
 */
export function generatePlan(kind: CollectiveKind, algorithm: string, sizes: AlgorithmSizes): CollectivePlan {
  const table = collectiveAlgorithms[kind]
  const entry = Object.hasOwn(table, algorithm) ? table[algorithm] : undefined
  const { ranks, elems, hosts, counts } = sizes
  if (entry !== undefined && isMet(entry.needs, sizes)) return entry.generate(sizes)
  const names = algorithmsFor(kind, sizes).join(', ')
  throw new SkeinError(PlanErrors.OPTIONS, {
    what: `the algorithm ${algorithm} was asked for ${kind} among ${ranks} ranks`,
    why: entry === undefined ? `there is none of this name` : `it needs: ${entry.needs}`,
    todo: `take one of ${names}`,
    details: { kind, algorithm, ranks, elems, hosts, numCounts: counts?.length },
  })
}

function isMet(need: AlgorithmNeed, { ranks, hosts, counts }: AlgorithmSizes): boolean {
  if (counts !== undefined && counts.length !== ranks) return false
  const hasEqualCounts = counts === undefined || new Set(counts.flat()).size === 1
  switch (need) {
    case 'nothing':
      return true
    case 'power of two':
      return isPowerOfTwo(ranks)
    case 'hosts':
      return hosts?.length === ranks
    case 'equal counts':
      return hasEqualCounts
    case 'equal counts, hosts of equal size':
      return (
        hasEqualCounts && hosts?.length === ranks && new Set(ranksByHost(hosts).map(list => list.length)).size === 1
      )
  }
}

import { directAllGather, directAllReduce, directGather, directReduceScatter, directScatter } from './direct.ts'
import { doubleTreeAllReduce } from './double-tree.ts'
import { halvingDoublingAllReduce } from './halving-doubling.ts'
import type { CollectivePlan, PlanOptions } from './plan.ts'
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

export const reduceScatterAlgorithms = {
  ring: ringReduceScatter,
  direct: directReduceScatter,
} as const satisfies Readonly<Record<string, Generate>>
export const allGatherAlgorithms = { ring: ringAllGather, direct: directAllGather } as const satisfies Readonly<
  Record<string, Generate>
>
export const rootedAlgorithms = {
  broadcast: { tree: binomialBroadcast },
  reduce: { tree: binomialReduce },
  gather: { direct: directGather },
  scatter: { direct: directScatter },
} as const satisfies Readonly<Record<string, Readonly<Record<string, GenerateRooted>>>>

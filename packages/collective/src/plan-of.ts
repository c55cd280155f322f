import { type CodecName, codecOf } from '@skein/codec'
import {
  allGatherAlgorithms,
  allReduceAlgorithms,
  type CollectivePlan,
  compress,
  hierarchicalAllReduce,
  inUnits,
  permuteRanks,
  type PlanOptions,
  reduceScatterAlgorithms,
  rootedAlgorithms,
} from '@skein/plan'
import { wrongArgument } from './check-group.ts'

/** All that decides a plan of one buffer in place; the same on all ranks. */
export interface PlanRequest {
  readonly kind: 'all-reduce' | 'reduce-scatter' | 'all-gather' | 'broadcast' | 'reduce' | 'gather' | 'scatter'
  readonly algorithm: string
  readonly ranks: number
  readonly elems: number
  readonly segmentElems: number
  readonly root: number
  readonly codec?: CodecName
  /** Host of each rank, for the hierarchical all-reduce. */
  readonly hosts?: readonly number[]
  /** Order of the ranks around the ring of an all-reduce; others keep theirs, since their blocks belong to ranks. */
  readonly ringOrder?: readonly number[]
}

type Generate = (options: PlanOptions & { readonly root: number }) => CollectivePlan

/** @throws SKEIN_COLLECTIVE_ARGUMENT for an algorithm that this kind does not have, or not with a codec. */
export function planOf(request: PlanRequest): CollectivePlan {
  const { ranks, elems, segmentElems, root, codec, algorithm, ringOrder } = request
  const generate = generatorOf(request)
  const options = { ranks, elems, segmentElems, root }
  if (codec !== undefined) {
    const plan = inUnits(generate, codecOf(codec).blockElems)(options)
    if ((plan.layers ?? 1) > 1) {
      throw wrongArgument(`the algorithm ${algorithm} was asked for with the codec ${codec}`, { algorithm, codec })
    }
    return compress(ordered(plan, algorithm, ringOrder))
  }
  return ordered(generate(options), algorithm, ringOrder)
}

function ordered(plan: CollectivePlan, algorithm: string, order: readonly number[] | undefined): CollectivePlan {
  const isRing = algorithm === 'ring' && plan.collective.kind === 'all-reduce'
  return isRing && order !== undefined ? permuteRanks(plan, order) : plan
}

function generatorOf({ kind, algorithm, hosts }: PlanRequest): Generate {
  const known = algorithmsOf(kind)
  if (kind === 'all-reduce' && algorithm === 'hierarchical') {
    if (hosts !== undefined) return options => hierarchicalAllReduce({ ...options, hosts })
    throw wrongArgument('a hierarchical all-reduce was asked of a group that does not know its hosts', { algorithm })
  }
  const generate = known[algorithm]
  if (generate !== undefined) return generate
  const names = Object.keys(known).join(', ')
  throw wrongArgument(`the algorithm ${algorithm} was asked for a ${kind}, which has ${names}`, { kind, algorithm })
}

/** The algorithms of a kind, by name. */
export function algorithmsOf(kind: PlanRequest['kind']): Readonly<Record<string, Generate>> {
  switch (kind) {
    case 'all-reduce':
      return allReduceAlgorithms
    case 'reduce-scatter':
      return reduceScatterAlgorithms
    case 'all-gather':
      return allGatherAlgorithms
    default:
      return rootedAlgorithms[kind]
  }
}

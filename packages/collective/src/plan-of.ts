import { type CodecName, codecOf } from '@skein/codec'
import {
  type AlgorithmSizes,
  algorithmsFor,
  type CollectiveKind,
  type CollectivePlan,
  compress,
  generatePlan,
  inUnits,
  permuteRanks,
} from '@skein/plan'
import { wrongArgument } from './check-group.ts'

/** All that decides a plan; the same on all ranks. */
export interface PlanRequest extends AlgorithmSizes {
  readonly kind: Exclude<CollectiveKind, 'barrier'>
  readonly algorithm: string
  readonly codec?: CodecName
  /** Order of the ranks around the ring of an all-reduce; others keep theirs, since their blocks belong to ranks. */
  readonly ringOrder?: readonly number[]
}

/** @throws SKEIN_COLLECTIVE_ARGUMENT for an algorithm that this kind does not have among these ranks, or not with a codec. */
export function planOf({ kind, algorithm, codec, ringOrder, ...sizes }: PlanRequest): CollectivePlan {
  const names = algorithmsFor(kind, sizes)
  if (!names.includes(algorithm)) {
    const what = `the algorithm ${algorithm} was asked for a ${kind} among ${sizes.ranks} ranks, which has ${names.join(', ')}`
    throw wrongArgument(what, { kind, algorithm })
  }
  const generate = (of: AlgorithmSizes) => generatePlan(kind, algorithm, of)
  if (codec === undefined) return ordered(generate(sizes), algorithm, ringOrder)
  const plan = inUnits(generate, codecOf(codec).blockElems)(sizes)
  if ((plan.layers ?? 1) > 1) {
    throw wrongArgument(`the algorithm ${algorithm} was asked for with the codec ${codec}`, { algorithm, codec })
  }
  return compress(ordered(plan, algorithm, ringOrder))
}

function ordered(plan: CollectivePlan, algorithm: string, order: readonly number[] | undefined): CollectivePlan {
  const isRing = algorithm === 'ring' && plan.collective.kind === 'all-reduce'
  return isRing && order !== undefined ? permuteRanks(plan, order) : plan
}

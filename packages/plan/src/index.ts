/**
 * Collective algorithms and training steps as data: generators, validator, simulator, drawing. Pure.
 *
 * @example
 * const plan = ringAllReduce({ ranks: 4, elems: 1_000_000, segmentElems: 65_536 })
 * assertValidPlan(plan)
 * console.log(drawPlan(plan))
 */
export {
  type AlgorithmEntry,
  type AlgorithmNeed,
  type AlgorithmSizes,
  algorithmsFor,
  allGatherAlgorithms,
  type AllReduceAlgorithm,
  allReduceAlgorithms,
  collectiveAlgorithms,
  generatePlan,
  reduceScatterAlgorithms,
  rootedAlgorithms,
} from './algorithms.ts'
export {
  type AllToAllOptions,
  bruckAllToAll,
  directAllToAll,
  pairwiseAllToAll,
  twoLevelAllToAll,
} from './all-to-all.ts'
export { disseminationBarrier } from './barrier.ts'
export { binomialGather, binomialScatter, bruckAllGather } from './block-runs.ts'
export { compress, inUnits } from './compress.ts'
export { type DecodePlanLimits, decodePlan } from './decode-plan.ts'
export { dependenciesOf } from './dependencies.ts'
export { directAllGather, directAllReduce, directGather, directReduceScatter, directScatter } from './direct.ts'
export { doubleTreeAllReduce } from './double-tree.ts'
export { type DrawOptions, drawPlan } from './draw.ts'
export { drawPlanSvg, type DrawSvgOptions } from './draw-svg.ts'
export { embed, permuteRanks } from './embed.ts'
export { encodePlan, planFormat } from './encode-plan.ts'
export { PlanErrors } from './errors.ts'
export { doublingAllGather, halvingDoublingAllReduce, halvingReduceScatter } from './halving-doubling.ts'
export { hierarchicalAllReduce, type HostOptions } from './hierarchical.ts'
export {
  addressSpace,
  blockRange,
  type Collective,
  type CollectiveKind,
  type CollectivePlan,
  type CopyOp,
  describeOp,
  type EncodeOp,
  isTransfer,
  type LocalOp,
  type LocalReduceOp,
  type PlanOp,
  type PlanOptions,
  type RankSpace,
  segmentsOf,
  sentElems,
  sentMessages,
  type TransferOp,
} from './plan.ts'
export {
  type LinkFigures,
  type OpSizes,
  predictMs,
  type PredictedKind,
  type Prediction,
  rankAlgorithms,
  worstLink,
} from './predict.ts'
export { recursiveDoublingAllReduce } from './recursive-doubling.ts'
export { ringAllGather, ringAllReduce, ringReduceScatter } from './ring.ts'
export { ringCost, ringOrder } from './ring-order.ts'
export {
  countRounds,
  type LinkCosts,
  type SimulatedOp,
  type Simulation,
  type SimulationOptions,
  simulatePlan,
} from './simulate.ts'
export { starAllReduce } from './star.ts'
export { type DataParallelStepOptions, dataParallelStep, type StepOp } from './step.ts'
export { drawTimelineSvg, type Timeline, type TimelineBox, type TimelineSize } from './timeline-svg.ts'
export { binomialBroadcast, binomialReduce, treeAllReduce } from './tree.ts'
export { assertValidPlan, type CheckOptions, checkPlan, type PlanProblem } from './validate.ts'

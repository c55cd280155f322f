/**
 * Collective algorithms and training steps as data: generators, validator, simulator, drawing. Pure.
 *
 * @example
 * const plan = ringAllReduce({ ranks: 4, elems: 1_000_000, segmentElems: 65_536 })
 * assertValidPlan(plan)
 * console.log(drawPlan(plan))
 */
export { disseminationBarrier } from './barrier.ts'
export { dependenciesOf } from './dependencies.ts'
export { type DrawOptions, drawPlan } from './draw.ts'
export { PlanErrors } from './errors.ts'
export {
  blockRange,
  type Collective,
  type CollectiveKind,
  type CollectivePlan,
  describeOp,
  type PlanOp,
  type PlanOptions,
  segmentsOf,
  sentElems,
  sentMessages,
} from './plan.ts'
export { ringAllGather, ringAllReduce, ringReduceScatter } from './ring.ts'
export { countRounds, type LinkCosts, type SimulatedOp, type Simulation, simulatePlan } from './simulate.ts'
export { starAllReduce } from './star.ts'
export { type DataParallelStepOptions, dataParallelStep, type StepOp } from './step.ts'
export { binomialBroadcast, treeAllReduce } from './tree.ts'
export { assertValidPlan, checkPlan, type PlanProblem } from './validate.ts'

/** Process groups and the executor of collective plans. */
export {
  type AlgorithmLimits,
  type AllReduceAlgorithm,
  chooseAllReduce,
  defaultAlgorithmLimits,
} from './choose-algorithm.ts'
export { CollectiveErrors } from './errors.ts'
export type { FlightEntry } from './flight-log.ts'
export { createGroup, defaultSegmentBytes, Group, type GroupOptions, scratchBytesFor } from './group.ts'
export type { Algorithm, OpKind } from './op-kind.ts'
export type { OpResult } from './op-run.ts'
export type { TensorRegion } from './region.ts'

/** Process groups and the executor of collective plans. */
export { assumedLinks, chooseAlgorithm } from './choose-algorithm.ts'
export type {
  AlgorithmOptions,
  AllReduceOptions,
  AllToAllOptions,
  Collectives,
  OpOptions,
  Priority,
  ReduceOp,
  ReduceOptions,
} from './collectives.ts'
export { CollectiveErrors } from './errors.ts'
export type { FlightEntry } from './flight-log.ts'
export { createGroup, Group, type GroupOptions } from './group.ts'
export { type MeasuredLinks, measureLinks, type MeasureOptions, measuringElems } from './measure-links.ts'
export { type Messages, messagesOf, type Transfer } from './messages.ts'
export { type AxisGroup, axisGroups } from './mesh-groups.ts'
export type { Algorithm, OpKind } from './op-kind.ts'
export type { OpResult } from './op-run.ts'
export { planOf, type PlanRequest } from './plan-of.ts'
export { regionBytes, type RegionDType, type TensorRegion } from './region.ts'
export { tuneAllReduce, type Tuned, type TuneOptions } from './tune.ts'
export { type GroupAnswer, type GroupCall, type GroupRequest, GroupServer, RemoteGroup } from './remote-group.ts'
export { codedScratchBytes, defaultSegmentBytes, scratchBytesFor, type ScratchSizes } from './scratch-bytes.ts'

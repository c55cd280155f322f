/**
 * Pipeline schedules as data: generators, validator, simulator, drawing. Pure.
 *
 * @example
 * const schedule = generateSchedule('zb-h1', { ranks: 4, microbatches: 8 })
 * assertValidSchedule(schedule)
 * simulate(schedule, { forward: 1, inputGrad: 1, weightGrad: 1 }).syncBubble // 0.111
 */
export { type Kept, peakActivations } from './activations.ts'
export { messagesBetween } from './traffic.ts'
export {
  type Costs,
  durationOf,
  type LinkTimes,
  type PassTimes,
  unitCosts,
  type VocabularyTimes,
  workOf,
} from './costs.ts'
export { type DrawOptions, drawSchedule, drawScheduleSvg, summaryOf } from './draw.ts'
export { ScheduleErrors } from './errors.ts'
export { families, familyOf, generateSchedule, scheduleNames } from './families.ts'
export { type ClosedForms, type Family, type ScheduleOptions, type Sizes, sizesOf, withDefaultSizes } from './family.ts'
export {
  chunkOf,
  type ComputeKind,
  type ComputeOp,
  type CopyOp,
  describeOp,
  type FillOp,
  type Frozen,
  isCompute,
  isCopy,
  isFill,
  isVocabulary,
  rankOf,
  type Schedule,
  type ScheduleOp,
  stageAlong,
  type TransferOp,
  type UpdateOp,
  type VocabularyKind,
  type VocabularyOp,
  type WeightOp,
} from './schedule.ts'
export { type WeightVersions, weightVersions } from './pipedream.ts'
export { type OffloadOptions, offloadActivations, usualCopyCosts } from './pipe-offload.ts'
export { withFill } from './fill.ts'
export { fillsAlone, makersOf, microbatchOfPiece, numPieces, piecesOf, takerOf } from './frozen.ts'
export { withPostValidation } from './post-validation.ts'
export { recompute } from './recompute.ts'
export { peakHeld, type SimulateOptions, type Simulation, simulate, type TimedOp } from './simulate.ts'
export { leastSlots, sendBuffers } from './slots.ts'
export { equalCostCuts, equalLengthCuts, slicePartsOf } from './sppo.ts'
export { repeated, steadyPeriod, steadyPeriodOf } from './steady.ts'
export { forwardSchedule } from './forwards.ts'
export { withReductions } from './reductions.ts'
export { messagesLeftOver, verdictAt } from './tentative.ts'
export { lower, receiveBuffers } from './transfers.ts'
export { type Timelines, type Trace, type TraceEvent, traceOf } from './trace.ts'
export { withWeightGradsLast } from './two-bp.ts'
export { assertValidSchedule, checkSchedule, type ScheduleProblem } from './validate.ts'
export { vocabularyDepth, withVocabularyShards } from './vocabulary-shards.ts'
export { shardWeights } from './weights.ts'

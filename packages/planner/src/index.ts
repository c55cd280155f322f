/**
 * Which pipeline schedule is quickest within the memory there is, from measured costs. Pure.
 *
 * @example
 * const { candidates } = planPipeline({ units, machine, ranks: 4, microbatches: 8, memoryBytes: 2 ** 30 })
 * candidates[0] // { name: 'zb-v', chunks: 2, recompute: false, stepMs: 612, bubble: 0.06, peakBytes: …, … }
 */
export { type Alternative, type AlternativeOptions, type Refusal } from './alternatives.ts'
export { PlannerErrors } from './errors.ts'
export { evenRanks } from './even-ranks.ts'
export type { Jitter } from './jitter.ts'
export { type RankMemory, stateFactor } from './memory.ts'
export { partition, perStage } from './partition.ts'
export { type Candidate, describeCandidate, type Plan, type PlanOptions, planPipeline, scheduleOf } from './plan.ts'
export type { MachineProfile, UnitProfile, VocabularyProfile } from './profile.ts'

/**
 * Which pipeline schedule is quickest within the memory there is, from measured costs. Pure.
 *
 * @example
 * partition([0.1, 5, 5, 5, 5, 3], 3) // [3, 2, 1]: units of each stage
 */
export { PlannerErrors } from './errors.ts'
export { partition, perStage } from './partition.ts'

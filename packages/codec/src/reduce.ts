import type { DType } from '@skein/core'

/** What a collective does with two elements. A mean is a sum, then a scale. */
export type ReduceOp = 'sum' | 'min' | 'max'

/** Element types that collectives reduce. */
export type ReduceDType = Exclude<DType, 'uint8'>
/** Those that can be scaled by a fraction. */
export type ScaleDType = Exclude<ReduceDType, 'int32'>

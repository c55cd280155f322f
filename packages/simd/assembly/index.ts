export { adamw } from './adamw'
export { add, copy, fill, hasNonFinite, scale, sumSquares } from './arithmetic'
export { hashHigh, hashLow } from './lanes16'

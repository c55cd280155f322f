/**
 * The shared nouns of Skein. Pure: no I/O, no packages.
 *
 * @example
 * throw new SkeinError(MyErrors.TOO_LARGE, { what: `a frame of ${n} B`, why: 'the peer runs another config', todo: 'compare both' })
 */
export { type Clock, type Ms, systemClock } from './clock.ts'
export { combinedDigest } from './combined-digest.ts'
export { type DType, dtypeBytes, formatShape, numElements, type Shape, sameShape } from './dtype.ts'
export {
  asSkeinError,
  assertNever,
  CoreErrors,
  type ErrorCode,
  type ErrorFacts,
  type ErrorRecord,
  type Retry,
  SkeinError,
} from './errors.ts'
export {
  type Generation,
  generation,
  type Incarnation,
  incarnation,
  type OpSeq,
  opSeq,
  type Rank,
  type RunId,
  rank,
  runId,
  type Step,
  step,
  type WorkerId,
  workerId,
} from './ids.ts'
export { type Lanes16, lanes16 } from './lanes16.ts'
export { mirroredPart, mirroredRank, partOf, replicaOf } from './mesh-place.ts'
export { nearestName } from './nearest.ts'
export { mixKeys, type Random, seededRandom } from './random.ts'
export { abortedError, type Deferred, deferred, sleep, type WaitOptions, within } from './waiting.ts'

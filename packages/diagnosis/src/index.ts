/**
 * Who is slow, who is missing, which link crawls: statistics of step times and of flight records. Pure: no clock, no socket.
 *
 * @example
 * const { state, changes } = observeStep(noSteps, { step: 1, members: [{ workerId: 'w0', computeMs: 81, samples: 4 }, …] })
 * explain({ step: 41, waitedMs: 3200, usualStepMs: 500, members, records }).summary
 */
export {
  type Cause,
  type CauseKind,
  type Explanation,
  explain,
  heldUpAfterMs,
  inWords,
  type MemberFacts,
  type Situation,
} from './explain.ts'
export { findSlowLink, findStuckLink, findStuckLinks, type SlowLink, type StuckLink } from './find-link.ts'
export { findLate, findMissing, type LateRank, type MissingRanks, oldestUnderWay } from './find-rank.ts'
export { type FlightOp, type FlightRecord, isUnderWay, opName, type PeerTraffic } from './flight-record.ts'
export { deadLinkMs, type LinkWatchState, noLinks, observeLinks } from './link-watch.ts'
export { median } from './robust.ts'
export {
  type MemberSpeed,
  type MemberTime,
  noSteps,
  observeStep,
  relativeSpeeds,
  type StepTimes,
  type Straggler,
  type StragglerChange,
  type StragglerState,
  stragglers,
  usualComputeMs,
  windowSteps,
} from './stragglers.ts'

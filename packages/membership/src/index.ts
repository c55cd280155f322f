/**
 * The membership of a run as a pure state machine: who is in, which step is committed, when and why the run ends.
 *
 * Contract with the process around it: call `decide` with each event in the order it happened; carry out `effects` in order; an
 * `append` or `emit` is durable before any `send` or `broadcast` of the same decision leaves; after an `ended` record send what
 * the decision says and close all links.
 *
 * @example
 * let state = initialState(config, clock.now())
 * const decision = decide(state, { type: 'voted', link, vote }, clock.now())
 * state = decision.state
 * for (const effect of decision.effects) run(effect)
 */
export { decide } from './decide.ts'
export { whyWaiting } from './describe.ts'
export type { Decision, Effect, LogRecord } from './effects.ts'
export { MembershipErrors } from './errors.ts'
export type { JoinedEvent, MeasuredSpeed, MembershipEvent, RecoveredEvent, SeenMoves } from './events.ts'
export { isGivenUp } from './given-up.ts'
export { protocolVersion } from './joining.ts'
export { activeMembers, compareWorkerIds, isActive, listNames, memberOfLink } from './members.ts'
export type {
  CoordinatorMessage,
  DeviceFacts,
  GenerationMember,
  LaneAddress,
  StateOrigin,
  Vote,
} from './messages.ts'
export type { Roster, Tally } from './roster.ts'
export type { DoneEvent, ErrorEvent, MemberChange, RunEvent, StepEvent, StepMember } from './run-events.ts'
export {
  type Deadlines,
  defaultDeadlines,
  type HeldState,
  type KeptStep,
  initialState,
  type LinkId,
  type Member,
  type MembershipConfig,
  type MembershipState,
  type Outcome,
  type Phase,
} from './state.ts'
export { strikesOf } from './strikes.ts'

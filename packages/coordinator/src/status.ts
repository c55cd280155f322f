import { combinedDigest, type Ms } from '@skein/core'
import { type Member, type MembershipState, type StepEvent, strikesOf, whyWaiting } from '@skein/membership'
import type { RefusalCounts } from '@skein/transport'
import type { StepWatch } from './step-watch.ts'

/** What a control link has said last, beside what membership knows. */
export interface LinkFacts {
  readonly lastSeenMs: Ms
  /** Counts up while the worker's device thread moves. */
  readonly progress: number
  readonly step: number
  /** Collectives that it has begun in the generation. */
  readonly opsEntered: number
  /** Whose messages it waits for; see `SeenMoves`. */
  readonly waitsFor: readonly string[] | undefined
  /** When its device thread was seen to move last. */
  readonly movedMs: Ms
}

/** The answer to GET /status: the run, and who was turned away at the port, by reason. */
export interface CoordinatorStatus extends RunStatus {
  readonly refused: RefusalCounts
}

/** The state of the run. Ages are in ms before the answer. */
export interface RunStatus {
  readonly runId: string
  readonly runDir: string
  readonly phase: MembershipState['phase'] | 'stopping'
  readonly generation: number
  readonly step: number
  readonly totalSteps: number
  readonly digest: string | null
  readonly loss: number | null
  readonly valLoss: number | null
  readonly untrainedLoss: number | null
  readonly checkpoint: { readonly step: number; readonly path: string } | null
  /** The last step that neighbours keep of each other in memory; null: none, or the job does not ask for it. */
  readonly mirror: { readonly step: number } | null
  /** What the run waits for, in words. */
  readonly waitingFor: string
  readonly uptimeMs: Ms
  /** Workers the run began with, the fewest it goes on with, the most that take part. */
  readonly numWorkers: number
  /** That the model is cut in, a worker each. */
  readonly parts: number
  readonly minWorkers: number
  readonly maxWorkers: number
  readonly members: readonly MemberStatus[]
  readonly numEvents: number
  readonly outcome: { readonly status: string; readonly reason: string } | null
}

export interface MemberStatus {
  readonly workerId: string
  /** Null while it waits for a generation that takes it in. */
  readonly rank: number | null
  /** Of the model, where it is cut: what it holds, or goes after while it waits. */
  readonly part: number | null
  readonly state: 'loading' | 'waiting' | 'preparing' | 'ready' | 'computing' | 'voted' | 'finishing' | 'finished'
  /** Samples of each step. */
  readonly share: number
  /** Why it is about to go. */
  readonly leaving: string | null
  /** Failures that are not forgiven yet. */
  readonly strikes: number
  readonly lastSeenMs: Ms | null
  readonly progress: number | null
  /** The last step it has made; of one that waits: whose state it holds. */
  readonly step: number | null
  readonly pid: number
  readonly device: Member['device']
  readonly lane: Member['lane']
  /** That it is slow, and how that is known. */
  readonly straggler: { readonly factor: number; readonly reason: string } | null
}

/** What status shows beside the state of membership. */
export interface StatusParts {
  readonly facts: (link: string) => LinkFacts | undefined
  readonly steps: StepWatch
  readonly lastStep: StepEvent | undefined
  readonly numEvents: number
  readonly nowMs: Ms
}

export function statusOf(state: MembershipState, { facts, steps, lastStep, numEvents, nowMs }: StatusParts): RunStatus {
  const { config, committed, outcome } = state
  return {
    runId: config.runId,
    runDir: config.runDir,
    phase: state.phase === 'training' && state.stop !== undefined ? 'stopping' : state.phase,
    generation: state.generation,
    step: committed.step,
    totalSteps: config.totalSteps,
    digest: committed.digests === undefined ? null : combinedDigest(committed.digests),
    loss: lastStep?.loss ?? null,
    valLoss: state.valLoss ?? null,
    untrainedLoss: state.untrainedLoss ?? null,
    checkpoint: state.checkpoint ?? null,
    mirror: state.mirror === undefined ? null : { step: state.mirror.step },
    waitingFor: whyWaiting(state),
    uptimeMs: nowMs - state.createdMs,
    numWorkers: config.numWorkers,
    parts: config.parts,
    minWorkers: config.minWorkers,
    maxWorkers: config.maxWorkers,
    members: state.members.map(member => {
      const seen = facts(member.link)
      const straggler = steps.stragglerOf(member.workerId)
      return {
        workerId: member.workerId,
        rank: member.rank ?? null,
        part: config.parts === 1 ? null : (member.part ?? null),
        state: memberState(state, member),
        share: member.share,
        leaving: member.leaving ?? null,
        strikes: strikesOf(state, member.workerId, nowMs),
        lastSeenMs: seen === undefined ? null : nowMs - seen.lastSeenMs,
        progress: seen?.progress ?? null,
        step: (member.rank === undefined ? member.holds[0]?.step : seen?.step) ?? null,
        pid: member.pid,
        device: member.device,
        lane: member.lane,
        straggler: straggler === undefined ? null : { factor: straggler.factor, reason: straggler.reason },
      }
    }),
    numEvents,
    outcome: outcome === undefined ? null : { status: outcome.status, reason: outcome.reason },
  }
}

function memberState(state: MembershipState, member: Member): MemberStatus['state'] {
  if (member.finished !== undefined) return 'finished'
  if (member.loaded === undefined) return 'loading'
  if (member.rank === undefined) return 'waiting'
  if (member.ready === undefined) return 'preparing'
  if (state.phase === 'preparing') return 'ready'
  if (state.phase === 'finishing') return 'finishing'
  return member.vote === undefined ? 'computing' : 'voted'
}

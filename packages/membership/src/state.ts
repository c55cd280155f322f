import type { ErrorRecord, Ms } from '@skein/core'
import type { DeviceFacts, LaneAddress, Vote } from './messages.ts'

/** Names one control link of the process; never reused. */
export type LinkId = string

export type Phase = 'gathering' | 'preparing' | 'training' | 'stopping' | 'finishing' | 'aborting' | 'ended'

/** Longest waits of each phase. They only bound waiting: safety comes from the commit record. */
export interface Deadlines {
  /** From the start until all workers have joined. */
  readonly gatherMs: Ms
  /** From the generation message until all are ready. */
  readonly prepareMs: Ms
  /** From one commit (or evaluation) to the next. */
  readonly stallMs: Ms
  /** From the last commit, or from any report of progress after it, to the next such report. */
  readonly finishMs: Ms
  /** How long to wait for the word of a worker that another one has reported dead. */
  readonly blameMs: Ms
}

export const defaultDeadlines: Deadlines = {
  gatherMs: 120_000,
  prepareMs: 300_000,
  stallMs: 600_000,
  finishMs: 300_000,
  blameMs: 1_000,
}

export interface MembershipConfig {
  readonly runId: string
  readonly runDir: string
  /** Passed on to workers as it is. */
  readonly job: unknown
  readonly jobFile?: string
  readonly numWorkers: number
  readonly totalSteps: number
  /** Secret of this run's tensor lanes; the token of a generation is derived from it. */
  readonly laneSecret: string
  readonly deadlines: Deadlines
}

export interface ReadyReport {
  readonly digest: string
  readonly dataFingerprint: string
  readonly numParams: number
}

export interface FinishReport {
  readonly peakRssBytes: number
  readonly sampleText?: string
  readonly baselineLoss?: number
}

export interface Member {
  readonly workerId: string
  readonly incarnation: string
  /** Undefined once the link is gone. */
  readonly link: LinkId | undefined
  readonly lane: LaneAddress
  readonly pid: number
  readonly device: DeviceFacts
  /** Place in the generation; undefined while gathering. */
  readonly rank: number | undefined
  readonly ready: ReadyReport | undefined
  /** For the step after the last commit. */
  readonly vote: Vote | undefined
  readonly finished: FinishReport | undefined
}

/** The newest truth of the log. */
export interface Committed {
  readonly step: number
  /** Undefined when the run starts from a state that no log entry vouches for. */
  readonly digest: string | undefined
  /** First sample that no commit covers; undefined until the first vote after a foreign checkpoint. */
  readonly samplesTo: number | undefined
}

export interface Evaluation {
  readonly step: number
  readonly loss: number
  readonly phase: 'untrained' | 'during' | 'final'
}

/** A run that is ending because a worker was reported gone, while that worker may still tell why. */
export interface Abort {
  /** What the others were told. */
  readonly error: ErrorRecord
  /** Reporter → the worker it reports as gone, and what it saw. */
  readonly blames: Readonly<Record<string, { readonly workerId: string; readonly what: string }>>
  readonly firstReporter: string
  readonly told: readonly string[]
}

export interface Outcome {
  readonly status: 'finished' | 'stopped' | 'failed'
  readonly reason: string
  readonly error?: ErrorRecord
}

export interface MembershipState {
  readonly config: MembershipConfig
  readonly phase: Phase
  /** 0 while gathering in a new run; rises by one when a membership is fixed. */
  readonly generation: number
  /** In join order while gathering, in rank order afterwards. */
  readonly members: readonly Member[]
  /** Incarnations that were replaced and may not come back. */
  readonly fenced: readonly string[]
  readonly committed: Committed
  readonly startStep: number
  readonly resume: string | undefined
  readonly stop: { readonly afterStep: number; readonly reason: string } | undefined
  readonly abort: Abort | undefined
  /** Evaluations of a step whose commit is still to come. */
  readonly pendingEvaluations: readonly Evaluation[]
  readonly untrainedLoss: number | undefined
  readonly valLoss: number | undefined
  readonly checkpoint: { readonly step: number; readonly path: string } | undefined
  readonly tokens: number
  readonly peakRssBytes: number
  readonly createdMs: Ms
  readonly startedMs: Ms | undefined
  readonly lastCommitMs: Ms | undefined
  /** When this phase has waited too long. */
  readonly deadlineMs: Ms
  readonly outcome: Outcome | undefined
}

/** A run that nobody has joined. */
export function initialState(config: MembershipConfig, nowMs: Ms): MembershipState {
  return {
    config,
    phase: 'gathering',
    generation: 0,
    members: [],
    fenced: [],
    committed: { step: 0, digest: undefined, samplesTo: 0 },
    startStep: 0,
    resume: undefined,
    stop: undefined,
    abort: undefined,
    pendingEvaluations: [],
    untrainedLoss: undefined,
    valLoss: undefined,
    checkpoint: undefined,
    tokens: 0,
    peakRssBytes: 0,
    createdMs: nowMs,
    startedMs: undefined,
    lastCommitMs: undefined,
    deadlineMs: nowMs + config.deadlines.gatherMs,
    outcome: undefined,
  }
}

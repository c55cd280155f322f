import type { ErrorRecord, Ms } from '@skein/core'
import { nothingObserved, type Observed } from './deadlines.ts'
import type { Beginning } from './given-up.ts'
import type { DeviceFacts, LaneAddress, Vote } from './messages.ts'
import type { Corruption } from './corruptions.ts'
import { Roster } from './roster.ts'

/** Names one control link of the process; never reused. */
export type LinkId = string

/**
 * `gathering`: no generation, waiting for those who should be in the next one · `paused`: fewer than the minimum are left · `preparing`: a
 * generation's members connect and bring one another to the same state · `training` · `finishing`: the last step is committed.
 */
export type Phase = 'gathering' | 'paused' | 'preparing' | 'training' | 'finishing' | 'ended'

/** Longest waits of each phase. They only bound waiting: safety comes from the commit record. */
export interface Deadlines {
  /** From the start until `numWorkers` have joined; after it the run begins with at least the minimum. */
  readonly gatherMs: Ms
  /** From a coordinator's restart until the members of the last generation are back. */
  readonly regatherMs: Ms
  /** From the generation message until all are ready: at most, and for as fast as this has gone before (see deadlines.ts) at least. */
  readonly prepareMs: Ms
  readonly prepareLeastMs: Ms
  /**
   * From one commit (or evaluation) to the next, likewise. The least is above the longest that a kernel may take now and then: one that stands
   * in a kernel looks like one that hangs.
   */
  readonly stallMs: Ms
  readonly stallLeastMs: Ms
  /** From the last commit, or from any report of progress after it, to the next such report. */
  readonly finishMs: Ms
  /** How long to wait for the end of a worker that another one has reported lost. */
  readonly blameMs: Ms
  /** Between two regroupings for the sake of newcomers: a storm of joins disturbs the run once in this time. */
  readonly admitMs: Ms
}

export const defaultDeadlines: Deadlines = {
  gatherMs: 120_000,
  regatherMs: 10_000,
  prepareMs: 300_000,
  prepareLeastMs: 60_000,
  stallMs: 600_000,
  stallLeastMs: 45_000,
  finishMs: 300_000,
  blameMs: 300,
  admitMs: 2_000,
}

export interface MembershipConfig {
  readonly runId: string
  readonly runDir: string
  /** Passed on to workers as it is. */
  readonly job: unknown
  readonly jobFile?: string
  /**
   * Parts that the model is cut in, a worker each: a generation has whole replicas of them. Members of the same part hold the same state. 1: all
   * hold all.
   */
  readonly parts: number
  /** Numbers of replicas that the batch can be divided among, rising from 1; undefined: any. */
  readonly replicas: readonly number[] | undefined
  /** The run begins when so many are here: whole replicas. */
  readonly numWorkers: number
  /** Fewer pause the run, as does less than a replica; more stand by as spares, as do those who make no whole replica. */
  readonly minWorkers: number
  readonly maxWorkers: number
  /** Samples of one step over all members. */
  readonly globalBatch: number
  /** Whether all take equally many of them, or each as many as it is fast. */
  readonly shares: 'equal' | 'measured'
  readonly totalSteps: number
  /** Steps between two that are mirrored, where the model is cut; 0: none is. */
  readonly mirrorEvery: number
  /** Secret of this run's tensor lanes; the token of a generation is derived from it. */
  readonly laneSecret: string
  readonly deadlines: Deadlines
}

/** What a worker has opened before it can be a member. */
export interface LoadReport {
  readonly dataFingerprint: string
  readonly numParams: number
}

/** Parameters and optimizer state of a part of the model after a step, by the digest of the parameters. */
export interface HeldState {
  readonly part: number
  readonly step: number
  readonly digest: string
}

/** What a worker keeps in memory of a mirrored step, beside what it trains: its own part, and the one of its neighbour (`mirroredPart`). */
export interface KeptStep {
  readonly step: number
  /** Its own. */
  readonly part: number
  readonly digests: readonly [own: string, neighbours: string]
}

/** A step of which every part is to be kept by two, by the digests of its parts. */
export interface MirroredStep {
  readonly step: number
  readonly digests: readonly string[]
}

export interface FinishReport {
  readonly peakRssBytes: number
  readonly sampleText?: string
  readonly baselineLoss?: number
}

/** A process with an open control link that has joined: in the present generation, or waiting for the next. */
export interface Member {
  readonly workerId: string
  readonly incarnation: string
  readonly link: LinkId
  readonly lane: LaneAddress
  readonly pid: number
  readonly device: DeviceFacts
  /** Undefined until model and data are open. */
  readonly loaded: LoadReport | undefined
  /** States it can go on from, the newest first. */
  readonly holds: readonly HeldState[]
  /** The newest first: a mirror under way, and the last that was whole. */
  readonly keeps: readonly KeptStep[]
  /** The part that it was told to go after while it waits, or has in the generation. */
  readonly part: number | undefined
  /** The generation that it was last told to go after. */
  readonly follows: number | undefined
  /** It has got what it could of that while the others train. */
  readonly caughtUp: boolean
  /** Place in the generation; undefined while it is in none. */
  readonly rank: number | undefined
  /** Its samples of the step after the last commit. */
  readonly share: number
  /** Digest of the parameters it begins the generation with, when it has them and all lanes. */
  readonly ready: string | undefined
  /** For the step after the last commit. */
  readonly vote: Vote | undefined
  readonly finished: FinishReport | undefined
  /** Why it wants to go after the steps under way. */
  readonly leaving: string | undefined
  /** Not to be admitted earlier: it has failed often. */
  readonly notBeforeMs: Ms
}

/** The newest truth of the log. */
export interface Committed {
  readonly step: number
  /** Of each part; undefined when the run starts from a state that no log entry vouches for. */
  readonly digests: readonly string[] | undefined
  /** First sample that no commit covers; undefined until the first vote after a foreign checkpoint. */
  readonly samplesTo: number | undefined
}

export interface Evaluation {
  readonly step: number
  readonly loss: number
  readonly phase: 'untrained' | 'during' | 'final'
}

/** Between two generations: for whom the next one waits, and how long. */
export interface Gathering {
  /** The first generation of a coordinator that goes on from none: it waits for all that the run should begin with. */
  readonly isFirst: boolean
  /** Reported lost by a peer while their control links are open. */
  readonly suspects: readonly string[]
  /** Members of the generation before a restart that are not back, with model and data. */
  readonly expected: readonly string[]
  readonly untilMs: Ms
  /** How long to wait for a worker that holds the last commit, where nobody here does. */
  readonly stateUntilMs: Ms
}

/** Failures of one worker, forgiven after a time without any. */
export interface Strikes {
  readonly workerId: string
  readonly count: number
  readonly lastMs: Ms
}

export interface PartsSaved {
  readonly step: number
  readonly saved: readonly number[]
  readonly failed: readonly number[]
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
  /** In join order. */
  readonly members: Roster
  /** Incarnations that may not come back, the last of them; `isReplaced`: a newer process has their name. */
  readonly fenced: readonly { readonly incarnation: string; readonly isReplaced: boolean }[]
  /** Of whom has failed lately. */
  readonly strikes: readonly Strikes[]
  /** Reporter → accused, since the last commit: how often it lost its lane to it. */
  readonly accusations: Readonly<Record<string, Readonly<Record<string, number>>>>
  /** Pairs of whom one was put out for their link, until they have made a step together. */
  readonly brokenLinks: readonly (readonly [string, string])[]
  /** Who got altered frames from whom lately. */
  readonly corruptions: readonly Corruption[]
  /** Of the last generation that ended before its time, by rank: what its members still say of each other is told apart so. */
  readonly endedRanks: ReadonlyMap<number | undefined, string>
  /** The step after the last commit, if its votes differed and none had a majority. */
  readonly disputedStep: number | undefined
  readonly gathering: Gathering
  /** Model and data of the run, as its first members have opened them. */
  readonly loaded: LoadReport | undefined
  /** Generations that went back, and to where: later steps of those before them are not the run's any more. The last ones. */
  readonly rewinds: readonly Beginning[]
  readonly committed: Committed
  /** Where the present generation began. */
  readonly startStep: number
  /** Whether all its members held the state of that step. */
  readonly isStateHeld: boolean
  /** When this phase began, or has moved last. */
  readonly movedMs: Ms
  readonly observed: Observed
  /** The run's end at an earlier step. */
  readonly stop: { readonly afterStep: number; readonly reason: string } | undefined
  /** The generation's end at a step, for the sake of those who come and go. */
  readonly regroup: { readonly afterStep: number; readonly reason: string; readonly saves: boolean } | undefined
  /** Other shares, by rank, from a step of this generation on. */
  readonly reshare: { readonly fromStep: number; readonly shares: readonly number[] } | undefined
  /** The step after which the present shares began. */
  readonly sharesSince: number
  /** Of workers, in any unit, by which shares were divided last; of nobody while they are equal. */
  readonly speeds: Readonly<Record<string, number>>
  /** The first error of its own that a member reported since the last commit. */
  readonly failure: ErrorRecord | undefined
  /** Evaluations of a step whose commit is still to come. */
  readonly pendingEvaluations: readonly Evaluation[]
  readonly untrainedLoss: number | undefined
  readonly valLoss: number | undefined
  readonly checkpoint: { readonly step: number; readonly path: string } | undefined
  /** Checkpoints of this generation of which parts are on disk, of a model that is cut: by the ranks of the first replica. */
  readonly saving: readonly PartsSaved[]
  /** The last step that is mirrored whole: every member keeps its two parts of it, until the next one is whole or the member takes another part. */
  readonly mirror: MirroredStep | undefined
  /** The one under way in this generation. */
  readonly mirroring: MirroredStep | undefined
  /** The last try to take a state to disk, where it failed. */
  readonly unsaved: { readonly step: number; readonly error: ErrorRecord } | undefined
  readonly tokens: number
  readonly peakRssBytes: number
  readonly createdMs: Ms
  readonly startedMs: Ms | undefined
  readonly lastCommitMs: Ms | undefined
  readonly lastAdmissionMs: Ms | undefined
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
    members: Roster.of([]),
    fenced: [],
    strikes: [],
    accusations: {},
    brokenLinks: [],
    corruptions: [],
    endedRanks: new Map(),
    disputedStep: undefined,
    gathering: {
      isFirst: true,
      suspects: [],
      expected: [],
      untilMs: nowMs + config.deadlines.gatherMs,
      stateUntilMs: nowMs,
    },
    loaded: undefined,
    rewinds: [],
    committed: { step: 0, digests: undefined, samplesTo: 0 },
    startStep: 0,
    isStateHeld: false,
    movedMs: nowMs,
    observed: nothingObserved,
    stop: undefined,
    regroup: undefined,
    reshare: undefined,
    sharesSince: 0,
    speeds: {},
    failure: undefined,
    pendingEvaluations: [],
    untrainedLoss: undefined,
    valLoss: undefined,
    checkpoint: undefined,
    saving: [],
    mirror: undefined,
    mirroring: undefined,
    unsaved: undefined,
    tokens: 0,
    peakRssBytes: 0,
    createdMs: nowMs,
    startedMs: undefined,
    lastCommitMs: undefined,
    lastAdmissionMs: undefined,
    deadlineMs: nowMs + config.deadlines.gatherMs,
    outcome: undefined,
  }
}

import type { DeviceFacts } from './messages.ts'

/** How a worker's membership changed. */
export type MemberChange =
  | 'joined'
  /** It has what the others have, and is taken in at a step to come. */
  | 'caught-up'
  /** It gets no state from the others, and is not taken in; it goes on asking. */
  | 'cannot-catch-up'
  | 'ready'
  | 'finished'
  /** It has asked to go, and goes after the steps under way. */
  | 'leaving'
  | 'left'
  | 'lost'
  /** It came back over another link. */
  | 'reconnected'
  | 'failed'
  /** A newer process has taken its name. */
  | 'fenced'
  | 'evicted'

/** What the outside sees of a run, one JSON object each: the `--json` lines and the /events stream. */
export type RunEvent =
  | {
      readonly event: 'run'
      readonly runId: string
      readonly runDir: string
      /** Of the job, where it has one. */
      readonly name?: string
      readonly numWorkers: number
      readonly totalSteps: number
      /** The last step already made. */
      readonly startStep: number
      /** The checkpoint the run goes on from. */
      readonly resume?: string
    }
  | {
      readonly event: 'member'
      readonly workerId: string
      readonly change: MemberChange
      readonly reason: string
      readonly rank?: number
      readonly device?: DeviceFacts
    }
  | {
      readonly event: 'generation'
      readonly generation: number
      /** Of the model, where it is cut. */
      readonly parts?: number
      readonly members: readonly ShownShare[]
      readonly startStep: number
      readonly reason: string
    }
  /** From a step on the batch is divided otherwise; who takes how much is left out in runs of more than `maxMembersShown` workers. */
  | {
      readonly event: 'shares'
      readonly generation: number
      readonly fromStep: number
      readonly members?: readonly ShownShare[]
      readonly reason: string
    }
  /** Too few are left; the run goes on when others join. */
  | {
      readonly event: 'paused'
      readonly step: number
      readonly workers: number
      readonly minWorkers: number
      readonly reason: string
    }
  | { readonly event: 'start'; readonly generation: number; readonly step: number; readonly digest: string }
  | StepEvent
  /** A worker's time for a sample is `factor` times that of the others. Comes after the step that showed it. */
  | { readonly event: 'straggler'; readonly workerId: string; readonly factor: number; readonly reason: string }
  | { readonly event: 'straggler-gone'; readonly workerId: string; readonly reason: string }
  /** A step takes far longer than usual, and whom it waits for is known: once for each step and culprit. */
  | {
      readonly event: 'held-up'
      /** The one that is waited for. */
      readonly step: number
      /** Since the last commit. */
      readonly waitedMs: number
      readonly cause: string
      /** Of a link: the sending one. */
      readonly workerId: string
      /** Of a link: the receiving one. */
      readonly to?: string
      readonly reason: string
    }
  | {
      readonly event: 'eval'
      readonly step: number
      readonly loss: number
      readonly phase: 'untrained' | 'during' | 'final'
    }
  /** Every part of this step is kept in the memory of two members. */
  | { readonly event: 'mirrored'; readonly step: number }
  /** Not all have got their copies of this step in time: it was given up for a newer one. Until that is whole the run would go back to an earlier one. */
  | { readonly event: 'mirror-late'; readonly step: number; readonly reason: string }
  | { readonly event: 'checkpoint'; readonly step: number; readonly path: string }
  | CheckpointFailedEvent
  /** Newer than the one the run goes on from, and not whole. */
  | { readonly event: 'checkpoint-skipped'; readonly path: string; readonly code: string; readonly reason: string }
  | { readonly event: 'stopping'; readonly afterStep: number; readonly reason: string }
  | DoneEvent
  | ErrorEvent

/** An alarm: a state was not taken to disk. The run goes on, and older checkpoints are as they were. */
export interface CheckpointFailedEvent {
  readonly event: 'checkpoint-failed'
  readonly step: number
  readonly workerId: string
  readonly code: string
  readonly what: string
  readonly why?: string
  readonly todo: string
  readonly details: Readonly<Record<string, unknown>>
  /** The newest checkpoint that is whole. */
  readonly checkpoint: string | null
}

/** A committed step. Times are the slowest worker's, bytes are summed over workers, memory is the largest worker's. */
export interface StepEvent {
  readonly event: 'step'
  readonly step: number
  readonly totalSteps: number
  readonly loss: number
  readonly tokens: number
  readonly samples: readonly [number, number]
  readonly generation: number
  readonly workers: number
  /** Of the parameters; where the model is cut, the combination of those of its parts (see combinedDigest). */
  readonly digest: string
  readonly stepMs: number
  readonly computeMs: number
  readonly commMs: number
  readonly waitMs: number
  readonly bytesSent: number
  readonly rssBytes: number
  readonly liveTensors: number
  /** Since the members started training. */
  readonly elapsedMs: number
  /** Each worker's own part, by rank; left out in runs of more than `maxMembersShown` workers. */
  readonly members?: readonly StepMember[]
}

export interface ShownShare {
  readonly workerId: string
  readonly rank: number
  /** Of the model, where it is cut. */
  readonly part?: number
  /** Samples of each step. */
  readonly share: number
}

export interface StepMember {
  readonly workerId: string
  readonly rank: number
  /** Of the model, where it is cut. */
  readonly part?: number
  /** Samples of the step that it took. */
  readonly share: number
  readonly stepMs: number
  readonly computeMs: number
  readonly commMs: number
  readonly waitMs: number
  readonly bytesSent: number
  readonly rssBytes: number
}

export const maxMembersShown = 64

export interface DoneEvent {
  readonly event: 'done'
  /** 'finished' after the job's last step, 'stopped' after a stop request. */
  readonly status: 'finished' | 'stopped'
  readonly reason: string
  /** The last committed step. */
  readonly steps: number
  readonly checkpoint: string | null
  readonly valLoss: number | null
  readonly untrainedLoss: number | null
  readonly baselineLoss: number | null
  /** Committed tokens over the time from start to last commit. */
  readonly tokensPerSecond: number
  /** From the coordinator's start to here. */
  readonly wallMs: number
  readonly peakRssBytes: number
  readonly sample: string | null
}

export interface ErrorEvent {
  readonly event: 'error'
  readonly code: string
  /** `what (why)` */
  readonly message: string
  readonly what: string
  readonly why?: string
  readonly todo: string
  readonly details: Readonly<Record<string, unknown>>
  /** The last committed step; the log and the last checkpoint are kept. */
  readonly steps: number
  readonly checkpoint: string | null
  /** Who caused it, where that is known. */
  readonly workerId?: string
}

import type { ErrorRecord } from '@skein/core'

/** Address that peers dial for tensor lanes. */
export interface LaneAddress {
  readonly host: string
  readonly port: number
  /** A Unix socket for peers with the same host id. */
  readonly local?: { readonly hostId: string; readonly path: string }
}

export interface DeviceFacts {
  readonly backend: string
  readonly version: string
  readonly threads: number
}

export interface GenerationMember {
  readonly workerId: string
  readonly rank: number
  readonly lane: LaneAddress
  /** Samples of each step that its replica takes, until `shares` says otherwise; those of all replicas, in their order, make up the global batch. */
  readonly share: number
}

/** Where the state after a generation's `startStep` comes from. */
export type StateOrigin =
  /** Nobody has any yet: the job's seed. */
  | { readonly kind: 'initial' }
  /** As seen from the coordinator's machine. */
  | { readonly kind: 'checkpoint'; readonly path: string }
  /**
   * These ranks hold their part of it; the others get theirs from those of the same part. Where all that is left of a part are the copies of a mirror, from
   * those who keep them.
   */
  | {
      readonly kind: 'members'
      readonly ranks: readonly number[]
      readonly copies?: readonly { readonly part: number; readonly ranks: readonly number[] }[]
    }

/** What membership sends to a worker: the coordinator → worker messages of the control protocol. */
export type CoordinatorMessage =
  | {
      readonly type: 'welcome'
      readonly runId: string
      readonly runDir: string
      readonly job: unknown
      readonly jobFile?: string
      /** Of any generation to come: what a worker sizes its memory for. */
      readonly maxWorkers: number
    }
  /** `startStep`: the last step already made; every member must hold the parameters after it. Ends every earlier generation. */
  | {
      readonly type: 'generation'
      readonly generation: number
      /** Replicas of so many ranks each: rank = replica · parts + part. */
      readonly parts: number
      readonly members: readonly GenerationMember[]
      readonly laneToken: string
      readonly startStep: number
      readonly origin: StateOrigin
      /** The last step that is mirrored whole: its copies are not to be written over. */
      readonly mirrored?: number
    }
  /** A worker that waits: these train and hold the state, of which it is to get this part. Answered by `caught-up`, also where it gets the state only when it is taken in, or by `catch-up-failed`. */
  | {
      readonly type: 'catch-up'
      readonly generation: number
      readonly parts: number
      readonly part: number
      readonly members: readonly GenerationMember[]
      readonly laneToken: string
      /** The last commit, which all of them will have heard of soon: whoever stands further back has not yet. */
      readonly step: number
    }
  /** All are ready, those of a part with one digest: go on from `step`, the `startStep` of the generation. */
  | { readonly type: 'start'; readonly generation: number; readonly step: number; readonly mirror?: true }
  /** `mirror`, there and here: this step is to be kept in memory, by whoever has it and its neighbour. */
  | {
      readonly type: 'commit'
      readonly generation: number
      readonly step: number
      readonly digest: string
      readonly mirror?: true
    }
  /** Make no step after this one: the next generation goes on from it. `save`: the first replica takes it to disk, nobody may be left to hold it. */
  | {
      readonly type: 'regroup'
      readonly generation: number
      readonly afterStep: number
      readonly reason: string
      readonly save: boolean
    }
  /** Other shares of the batch, by rank, from this step on, which nobody can have begun. */
  | {
      readonly type: 'shares'
      readonly generation: number
      readonly fromStep: number
      readonly shares: readonly number[]
    }
  /** To rank 0, of a model that is cut: all parts of the state after `step` are on disk, or not all will be. */
  | {
      readonly type: 'checkpoint-parts'
      readonly generation: number
      readonly step: number
      readonly isWhole: boolean
    }
  /** All members keep their parts of this step: those of the one before may be written over. */
  | { readonly type: 'mirror-whole'; readonly generation: number; readonly step: number }
  | { readonly type: 'stop'; readonly generation: number; readonly afterStep: number; readonly reason: string }
  /** The generation is over; its uncommitted step is undone, and the worker waits for the next generation. */
  | { readonly type: 'abort'; readonly generation: number; readonly error: ErrorRecord }
  /** This process may not take part; where the error's retry says so, under another incarnation it may. */
  | { readonly type: 'refuse'; readonly error: ErrorRecord }
  /** The run has failed. */
  | { readonly type: 'fail'; readonly error: ErrorRecord }
  /** The run, or this worker's part in it, has come to its good end. */
  | { readonly type: 'finish' }

/** What a member says after a step. `samples`, `tokens` and `loss` are those of the whole step; the rest is the member's own. */
export interface Vote {
  readonly generation: number
  readonly step: number
  /** Of the parameters of the member's part after the step, 16 hex digits. */
  readonly digest: string
  /** Mean loss over the global batch. */
  readonly loss: number
  /** Global sample numbers [from, to) of the step. */
  readonly samples: readonly [number, number]
  /** Those of them that the member's replica took. */
  readonly took: readonly [number, number]
  readonly tokens: number
  readonly stepMs: number
  readonly computeMs: number
  readonly commMs: number
  readonly waitMs: number
  readonly bytesSent: number
  readonly rssBytes: number
  readonly liveTensors: number
}

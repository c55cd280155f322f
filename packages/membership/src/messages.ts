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
}

/** What membership sends to a worker: the coordinator → worker messages of the control protocol. */
export type CoordinatorMessage =
  | {
      readonly type: 'welcome'
      readonly runId: string
      readonly runDir: string
      readonly job: unknown
      readonly jobFile?: string
      readonly resume?: string
    }
  /** `startStep`: the last step already made; every member must hold the parameters after it. */
  | {
      readonly type: 'generation'
      readonly generation: number
      readonly members: readonly GenerationMember[]
      readonly laneToken: string
      readonly startStep: number
    }
  /** All are ready with one digest: go on from `step`, the `startStep` of the generation. */
  | { readonly type: 'start'; readonly generation: number; readonly step: number }
  | { readonly type: 'commit'; readonly generation: number; readonly step: number; readonly digest: string }
  | { readonly type: 'stop'; readonly generation: number; readonly afterStep: number; readonly reason: string }
  | { readonly type: 'abort'; readonly generation: number; readonly error: ErrorRecord }
  | { readonly type: 'refuse'; readonly error: ErrorRecord }
  | { readonly type: 'finish' }

/** What a member says after a step. `samples`, `tokens`, `loss` and `digest` are those of the whole step; the rest is the member's own. */
export interface Vote {
  readonly generation: number
  readonly step: number
  /** Of the parameters after the step, 16 hex digits. */
  readonly digest: string
  /** Mean loss over the global batch. */
  readonly loss: number
  /** Global sample numbers [from, to) of the step. */
  readonly samples: readonly [number, number]
  readonly tokens: number
  readonly stepMs: number
  readonly computeMs: number
  readonly commMs: number
  readonly waitMs: number
  readonly bytesSent: number
  readonly rssBytes: number
  readonly liveTensors: number
}

import type { ErrorRecord } from '@skein/core'
import type { DeviceFacts, LaneAddress, Vote } from './messages.ts'
import type { Evaluation, FinishReport, LinkId, ReadyReport } from './state.ts'

export interface JoinedEvent {
  readonly type: 'joined'
  readonly link: LinkId
  readonly workerId: string
  readonly incarnation: string
  readonly protocol: number
  readonly lane: LaneAddress
  readonly pid: number
  readonly device: DeviceFacts
}

/** What the log (or the checkpoint a user names) says about the past of this run. */
export interface RecoveredEvent {
  readonly type: 'recovered'
  /** The last generation that the log knows; 0 for none. */
  readonly generation: number
  readonly step: number
  /** Undefined where the log has no commit of `step`. */
  readonly digest: string | undefined
  readonly samplesTo: number | undefined
  /** The checkpoint that workers load. */
  readonly resume: string | undefined
  readonly untrainedLoss: number | undefined
}

/** Everything that can happen to a run. Links are named by the process. */
export type MembershipEvent =
  | RecoveredEvent
  | JoinedEvent
  | ({ readonly type: 'ready'; readonly link: LinkId; readonly generation: number } & ReadyReport)
  | { readonly type: 'voted'; readonly link: LinkId; readonly vote: Vote }
  | ({ readonly type: 'evaluated'; readonly link: LinkId; readonly generation: number } & Evaluation)
  | {
      readonly type: 'checkpointed'
      readonly link: LinkId
      readonly generation: number
      readonly step: number
      readonly path: string
    }
  | ({
      readonly type: 'finished'
      readonly link: LinkId
      readonly generation: number
      readonly step: number
    } & FinishReport)
  | {
      readonly type: 'failed'
      readonly link: LinkId
      readonly error: ErrorRecord
      readonly peerRank?: number | undefined
    }
  | { readonly type: 'left'; readonly link: LinkId; readonly reason: string }
  | { readonly type: 'linkLost'; readonly link: LinkId; readonly reason: string }
  | { readonly type: 'stopRequested'; readonly reason: string }
  /** The process cannot go on: its log cannot be written, or it is being closed. */
  | { readonly type: 'coordinatorFailed'; readonly error: ErrorRecord }
  | { readonly type: 'tick' }

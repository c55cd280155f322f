import type { ErrorRecord, Ms } from '@skein/core'
import type { DeviceFacts, LaneAddress, Vote } from './messages.ts'
import type { Evaluation, FinishReport, HeldState, KeptStep, LinkId, LoadReport } from './state.ts'

export interface JoinedEvent {
  readonly type: 'joined'
  readonly link: LinkId
  readonly workerId: string
  readonly incarnation: string
  readonly protocol: number
  readonly lane: LaneAddress
  readonly pid: number
  readonly device: DeviceFacts
  /** What it kept of its former part in the run, the newest first. */
  readonly holds: readonly HeldState[]
  /** Likewise of mirrored steps. */
  readonly keeps: readonly KeptStep[]
}

/** What the log (or the checkpoint a user names) says about the past of this run. */
export interface RecoveredEvent {
  readonly type: 'recovered'
  /** The last generation that the log knows; 0 for none. */
  readonly generation: number
  readonly step: number
  /** Of each part; undefined where the log has no commit of `step`. */
  readonly digests: readonly string[] | undefined
  readonly samplesTo: number | undefined
  /** The newest checkpoint at or before `step`; where nobody is left who holds the state, the run goes back to it. */
  readonly checkpoint: { readonly step: number; readonly path: string } | undefined
  /** Members of the last generation, who may come back with their state. */
  readonly members: readonly { readonly workerId: string; readonly incarnation: string; readonly share: number }[]
  readonly untrainedLoss: number | undefined
}

/** What heartbeats say of each worker's device thread, by workerId. */
export type SeenMoves = Readonly<
  Record<
    string,
    {
      readonly opsEntered: number
      readonly stillMs: Ms
      /** Whose messages it waits for, as far as that is known; undefined where it waits for nobody. */
      readonly waitsFor?: readonly string[] | undefined
    }
  >
>

/** How fast a member was in the last steps. */
export interface MeasuredSpeed {
  readonly workerId: string
  readonly samplesPerSecond: number
}

/** Everything that can happen to a run. Links are named by the process. */
export type MembershipEvent =
  | RecoveredEvent
  | JoinedEvent
  | ({ readonly type: 'loaded'; readonly link: LinkId } & LoadReport)
  | {
      readonly type: 'caughtUp'
      readonly link: LinkId
      readonly generation: number
      readonly holds: readonly HeldState[]
    }
  /** One that waits gets no state from the members of this generation. */
  | {
      readonly type: 'catchUpFailed'
      readonly link: LinkId
      readonly generation: number
      readonly error: ErrorRecord
    }
  | { readonly type: 'ready'; readonly link: LinkId; readonly generation: number; readonly digest: string }
  | { readonly type: 'voted'; readonly link: LinkId; readonly vote: Vote }
  | ({ readonly type: 'evaluated'; readonly link: LinkId; readonly generation: number } & Evaluation)
  /** A member keeps copies of its own part and of its neighbour's, whole, by their digests. */
  | {
      readonly type: 'mirrored'
      readonly link: LinkId
      readonly generation: number
      readonly step: number
      readonly digests: KeptStep['digests']
    }
  /** A member's part of a committed state is on disk; rank 0 makes a checkpoint of all parts. */
  | { readonly type: 'checkpointPart'; readonly link: LinkId; readonly generation: number; readonly step: number }
  | {
      readonly type: 'checkpointed'
      readonly link: LinkId
      readonly generation: number
      readonly step: number
      readonly path: string
    }
  /** A member could not write a committed state to disk; it goes on. */
  | {
      readonly type: 'checkpointFailed'
      readonly link: LinkId
      readonly generation: number
      readonly step: number
      readonly error: ErrorRecord
    }
  | ({
      readonly type: 'finished'
      readonly link: LinkId
      readonly generation: number
      readonly step: number
    } & FinishReport)
  /** A worker's own failure; its process ends. */
  | { readonly type: 'failed'; readonly link: LinkId; readonly error: ErrorRecord }
  /** A worker has lost its lanes with a peer. */
  | {
      readonly type: 'peerLost'
      readonly link: LinkId
      readonly generation: number
      readonly peerRank: number
      readonly error: ErrorRecord
    }
  /** Frames that these links carry have not arrived for so long, while all their ends live and wait: by rank, of a generation. */
  | {
      readonly type: 'linkStuck'
      readonly generation: number
      readonly links: readonly { readonly from: number; readonly to: number }[]
      readonly forMs: Ms
    }
  | { readonly type: 'left'; readonly link: LinkId; readonly reason: string }
  /** `isSilent`: nothing was heard of the worker for too long, so it counts as dead; else the connection broke, and it may come back. */
  | { readonly type: 'linkLost'; readonly link: LinkId; readonly reason: string; readonly isSilent: boolean }
  /** After a commit, where the process measures: of every member that was in enough steps. */
  | { readonly type: 'measured'; readonly speeds: readonly MeasuredSpeed[] }
  | { readonly type: 'stopRequested'; readonly reason: string }
  /** The process cannot go on: its log cannot be written, or it is being closed. */
  | { readonly type: 'coordinatorFailed'; readonly error: ErrorRecord }
  /**
   * Time passes. `seen`, where the process knows it: for telling who stands still from who waits for him, or is slow.
   */
  | { readonly type: 'tick'; readonly seen?: SeenMoves }

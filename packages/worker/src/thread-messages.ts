import type { ErrorRecord } from '@skein/core'
import type { GroupAnswer, GroupRequest } from '@skein/collective'
import type { SharedHistory, SharedState, StateSlots } from '@skein/catchup'
import type { Region } from '@skein/simd'
import type { StepReport } from '@skein/trainer'
import type { TlsIdentity } from '@skein/transport'
import type { CoordinatorMessage, WorkerMessage } from '@skein/wire'

/** A group of ranks of a generation. */
export interface GroupPlace {
  /** Within the generation; 0: all members. */
  readonly number: number
  /** Of the generation, in the order of their rank in the group. */
  readonly ranks: readonly number[]
  /** Where its collectives may receive into, apart from the regions they are given; the group's alone. */
  readonly scratch: Region
}

/** What is asked of a group, or answered by it. */
export type OfGroup<Message> = Message & { readonly group: number }

/** Device thread → comm thread. Small messages only: tensors are in the shared memory. */
export type ToComm =
  | {
      readonly type: 'connect'
      readonly generation: number
      readonly memory: WebAssembly.Memory
      /** The first is that of all members. */
      readonly groups: readonly GroupPlace[]
    }
  | { readonly type: 'loaded'; readonly dataFingerprint: string; readonly numParams: number }
  /** Where the training state of a part of the model lies from now on. */
  | { readonly type: 'state'; readonly state: SharedState; readonly part: number }
  /** The device thread waits for a generation after this one: it touches the state no more until it is told of it. */
  | { readonly type: 'idle'; readonly generation: number }
  /** The state after `step` is to be had from those who hold it, before this generation can begin. */
  | { readonly type: 'restore'; readonly generation: number; readonly step: number }
  /** The state after `step`, which is committed, is copied to these slots: the neighbour's is to be kept as well. */
  | { readonly type: 'mirror'; readonly generation: number; readonly step: number; readonly slots: StateSlots }
  /** The parameters after `step` are in `params`. */
  | { readonly type: 'ready'; readonly generation: number; readonly params: Region; readonly step: number }
  | OfGroup<GroupRequest>
  | { readonly type: 'vote'; readonly generation: number; readonly report: StepReport }
  | { readonly type: 'leave'; readonly reason: string }
  | { readonly type: 'tell'; readonly message: WorkerMessage }
  | { readonly type: 'close' }

/** Comm thread → device thread. */
export type ToDevice =
  /** What the coordinator says; of several welcomes (a link that was opened anew) the first. */
  | { readonly type: 'told'; readonly message: CoordinatorMessage }
  /** Lanes to and from every peer are open. */
  | { readonly type: 'connected'; readonly generation: number }
  /** The state that was asked for is in one of the slots. */
  | { readonly type: 'restored'; readonly generation: number }
  /** Others catch up: each update is to be recorded here from now on; undefined: no more. */
  | { readonly type: 'record'; readonly history: SharedHistory | undefined }
  | OfGroup<GroupAnswer>
  /** The generation is over before its time: a lost peer, a lost coordinator, or its word. */
  | { readonly type: 'over'; readonly generation: number; readonly error: ErrorRecord }
  /** The run cannot go on here: a refused join, a failed run, a coordinator that is not to be found any more. */
  | { readonly type: 'failed'; readonly error: ErrorRecord }
  /** All sockets are closed; the thread ends. */
  | { readonly type: 'closed' }

/** What the comm thread is started with. */
export interface CommStart {
  /** Of all that may lead the run; at least one. */
  readonly coordinatorUrls: readonly string[]
  readonly token: string | undefined
  readonly workerId: string
  /** int32 [1], shared: the number of the last generation that is over, for a device thread that has no time for messages. */
  readonly lastOver: Int32Array
  /** int32 [1], shared: pieces of work that the device thread has begun, so that one that is slow is told from one that hangs. */
  readonly numPieces: Int32Array
  /** Address that peers dial for tensor lanes, and the one to listen on; its port (0: a free one) is also what peers dial by default. */
  readonly laneHost: string
  readonly lanePort: number | undefined
  readonly listenHost: string
  readonly listenPort: number
  readonly laneKind: 'raw' | 'ws'
  readonly localLanes: boolean
  readonly tls: TlsIdentity | undefined
  readonly device: { readonly backend: string; readonly version: string; readonly threads: number }
  readonly heartbeat: { readonly intervalMs: number; readonly deadAfterMs: number }
  /**
   * For a coordinator that does not answer yet, for one that was lost, for peers to answer in a generation, and for those that do answer and are still
   * busy with what was before it.
   */
  readonly timeouts: {
    readonly joinMs: number
    readonly reconnectMs: number
    readonly connectMs: number
    readonly peerMs: number
  }
  readonly log: { readonly file: string | undefined; readonly level: string }
}

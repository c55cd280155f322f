import type { ErrorRecord } from '@skein/core'
import type { GroupAnswer, GroupRequest } from '@skein/collective'
import type { Region } from '@skein/simd'
import type { StepReport } from '@skein/trainer'
import type { TlsIdentity } from '@skein/transport'
import type { CoordinatorMessage, WorkerMessage } from '@skein/wire'

/** Device thread → comm thread. Small messages only: tensors are in the shared memory. */
export type ToComm =
  | {
      readonly type: 'connect'
      readonly memory: WebAssembly.Memory
      /** Where the collectives may receive into, apart from the regions they are given. */
      readonly scratch: Region
    }
  | {
      readonly type: 'ready'
      readonly params: Region
      readonly dataFingerprint: string
      readonly numParams: number
    }
  | GroupRequest
  | { readonly type: 'vote'; readonly report: StepReport }
  | { readonly type: 'tell'; readonly message: WorkerMessage }
  | { readonly type: 'close' }

/** Comm thread → device thread. */
export type ToDevice =
  /** The control link is up and the join accepted, or anything later that the coordinator says. */
  | { readonly type: 'told'; readonly message: CoordinatorMessage }
  /** Lanes to and from every peer are open. */
  | { readonly type: 'connected' }
  | GroupAnswer
  /** The run cannot go on here: a lost link, a refused join, an aborted generation. */
  | { readonly type: 'failed'; readonly error: ErrorRecord }
  /** All sockets are closed; the thread ends. */
  | { readonly type: 'closed' }

/** What the comm thread is started with. */
export interface CommStart {
  readonly coordinatorUrl: string
  readonly token: string | undefined
  readonly workerId: string
  readonly incarnation: string
  /** Address that peers dial for tensor lanes, and the one to listen on. */
  readonly laneHost: string
  readonly listenHost: string
  readonly laneKind: 'raw' | 'ws'
  readonly localLanes: boolean
  readonly tls: TlsIdentity | undefined
  readonly device: { readonly backend: string; readonly version: string; readonly threads: number }
  readonly heartbeat: { readonly intervalMs: number; readonly deadAfterMs: number }
  readonly timeouts: { readonly joinMs: number; readonly connectMs: number }
  readonly log: { readonly file: string | undefined; readonly level: string }
}

import type { StoreEnvironment } from '@skein/checkpoint'
import type { TlsIdentity } from '@skein/transport'

/** How one worker process is started. The process entry (the CLI) fills this from flags and environment. */
export interface WorkerOptions {
  /** http(s) URL of the coordinator, or of each that may lead the run. */
  readonly join: readonly string[]
  readonly token?: string
  /** Lasting name; drawn from the host's name and a random suffix when left out. */
  readonly workerId?: string
  /** Threads of TensorFlow's kernels; default: all cores. */
  readonly threads?: number
  /** Device to use; default: the best that works (`skein doctor` says which and why). */
  readonly device?: string
  /** Address to listen on for tensor lanes, default loopback and a free port; and what peers dial, where that is another. */
  readonly listenHost?: string
  readonly listenPort?: number
  readonly advertiseHost?: string
  readonly advertisePort?: number
  /** Tensor lanes as raw frames (default) or WebSocket frames, for networks that only let WebSockets through. */
  readonly laneKind?: 'raw' | 'ws'
  /** Meets workers of the same host on Unix sockets; default true. False: over host and port, as all others. */
  readonly localLanes?: boolean
  /**
   * Speaks TLS: shown to an https coordinator and on every lane over host and port, where peers must show a certificate of the same
   * authority. Lanes within one host stay Unix sockets.
   */
  readonly tls?: TlsIdentity
  /** Variables by which a checkpoint store on S3 is reached. */
  readonly environment?: StoreEnvironment
  /** Folder for this worker's log file; none: no file. */
  readonly logFolder?: string
  readonly logLevel?: string
  /** How long to wait for a coordinator that does not answer yet, in ms; default 20 s. */
  readonly joinTimeoutMs?: number
  /** How long to look for a coordinator that was lost, in ms, before giving up; the state is kept meanwhile. Default 2 min. */
  readonly reconnectTimeoutMs?: number
  /** Asks to go: the worker finishes the steps under way, hands over, and ends well. */
  readonly leave?: AbortSignal
  /** Ends the worker as a failure would: the coordinator is told. */
  readonly signal?: AbortSignal
}

export interface WorkerOutcome {
  readonly workerId: string
  readonly lastStep: number
  readonly stopped: boolean
}

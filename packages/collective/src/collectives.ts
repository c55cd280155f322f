import type { CodecName } from '@skein/codec'
import type { OpResult } from './op-run.ts'
import type { TensorRegion } from './region.ts'

/**
 * How the values of several ranks become one. `mean` is the sum divided by the number of ranks; not for int32. Of float16 each rank's values are divided first;
 * with the codec `fp16` the sum itself has to fit (65,504).
 */
export type ReduceOp = 'sum' | 'mean' | 'min' | 'max'

/** `urgent` ops have lanes of their own: they pass ordinary ones under way, however large those are. */
export type Priority = 'normal' | 'urgent'

export interface OpOptions {
  /** The same on all ranks. Each priority is an order of its own. Default `normal`. */
  readonly priority?: Priority
  /** Cancels: the op, and the group with it, ends on every rank with SKEIN_COLLECTIVE_CANCELLED, which names this rank. */
  readonly signal?: AbortSignal
}

/** For who is in the thread of the group. */
export interface ReceiveOptions extends OpOptions {
  /** Called when the last frame of the message begins to come in: what it takes to be ready for it can go on meanwhile. */
  readonly onArriving?: () => void
}

export interface AlgorithmOptions extends OpOptions {
  /** Default: the one that is predicted to be quickest on the links as they were measured. The same on all ranks. */
  readonly algorithm?: string
}

export interface ReduceOptions extends AlgorithmOptions {
  /** Default `sum`. */
  readonly op?: ReduceOp
}

export interface AllReduceOptions extends ReduceOptions {
  /** Where the result goes, of the same size and dtype; the region is then only read. Default: the region itself. */
  readonly output?: TensorRegion
  /** How values travel; float32 sums and means only. Every rank ends with the same, rounded values. */
  readonly codec?: CodecName
  /** With a codec: float32 of the same size that takes what the first rounding of this rank's own values lost (error feedback). */
  readonly residual?: TensorRegion
}

export interface AllToAllOptions extends AlgorithmOptions {
  /** Elements for each rank, as they lie in the input one after the other. Default: equal blocks. */
  readonly counts?: readonly number[]
}

/**
 * The collectives among the ranks of a group, on regions of the shared memory.
 *
 * They are asynchronous: a call starts one and returns its handle; several may be under way and end in any order. Collectives of
 * one priority are issued in the same order on every rank, and messages to one peer in the order in which their partner expects
 * them. A region is borrowed until its handle settles: then every part has arrived and everything sent from it is flushed. After
 * a rejection what the op writes holds garbage, and what it only reads is as it was.
 */
export interface Collectives {
  readonly rank: number
  readonly worldSize: number

  /** Every rank gets the sum (mean, …) over all ranks; the same bits everywhere. */
  allReduce(region: TensorRegion, options?: AllReduceOptions): Promise<OpResult>
  /** Rank r gets it in block r, blocks as in `blockRange`; the other blocks hold partial results afterwards. */
  reduceScatter(region: TensorRegion, options?: ReduceOptions): Promise<OpResult>
  /** Rank `root` gets it; the other regions hold partial results afterwards. */
  reduce(region: TensorRegion, root: number, options?: ReduceOptions): Promise<OpResult>
  /** Copies rank b's block b to all, for every b; blocks as in `blockRange`. */
  allGather(region: TensorRegion, options?: AlgorithmOptions): Promise<OpResult>
  /** Copies rank b's block b to rank `root`, for every b; the other regions hold passing blocks afterwards. */
  gather(region: TensorRegion, root: number, options?: AlgorithmOptions): Promise<OpResult>
  /** Copies block b of rank `root` to rank b, for every b; the other blocks hold passing ones afterwards. */
  scatter(region: TensorRegion, root: number, options?: AlgorithmOptions): Promise<OpResult>
  /** Copies the region of rank `root` to all. */
  broadcast(region: TensorRegion, root: number, options?: AlgorithmOptions): Promise<OpResult>
  /**
   * Block d of the input goes to rank d; block s of the output comes from rank s. With `counts` the blocks have any sizes, and the
   * output must be as large as what comes in: `OpResult.receivedCounts` says how it is divided.
   */
  allToAll(input: TensorRegion, output: TensorRegion, options?: AllToAllOptions): Promise<OpResult>
  /** Settles when every rank has called it. */
  barrier(options?: OpOptions): Promise<OpResult>
  /** Sends the region to `peer`, which receives it with the same tag (uint32) and size. */
  send(region: TensorRegion, peer: number, tag?: number, options?: OpOptions): Promise<OpResult>
  /**
   * Receives from `peer` the next message of this tag. The lane waits, with everything behind it, until the message at its head
   * has its `recv`: so issue these in an order that agrees with the sender's.
   */
  recv(region: TensorRegion, peer: number, tag?: number, options?: OpOptions): Promise<OpResult>
}

/** What a plan promises about the buffers when every rank has run its list. */
export type Collective =
  /** Every rank holds the sum over all ranks. */
  | { readonly kind: 'all-reduce' }
  /** Rank r holds the sum in block r of `blockRange`; the rest of its buffer is scratch. */
  | { readonly kind: 'reduce-scatter' }
  /** Every rank holds rank b's block b, for every b. */
  | { readonly kind: 'all-gather' }
  /** Every rank holds what `root` held. */
  | { readonly kind: 'broadcast'; readonly root: number }
  /** Rank `root` holds the sum; the other buffers are scratch. */
  | { readonly kind: 'reduce'; readonly root: number }
  /** Rank `root` holds rank b's block b, for every b; the other buffers are scratch. */
  | { readonly kind: 'gather'; readonly root: number }
  /** Rank b holds block b of `root`, for every b; the rest of its buffer is scratch. */
  | { readonly kind: 'scatter'; readonly root: number }
  /**
   * Rank d gets from rank s `counts[s][d]` elements. The input of a rank is its blocks for rank 0, 1, … in order, its output the
   * blocks from rank 0, 1, …; the plan has `spaces`.
   */
  | { readonly kind: 'all-to-all'; readonly counts: readonly (readonly number[])[] }
  /** No rank ends before every rank has begun. */
  | { readonly kind: 'barrier' }

export type CollectiveKind = Collective['kind']

/**
 * One entry of a rank's list. `from`, `to`: elements [from, to) of the rank's addresses.
 *
 * `send` reads the range, `recv` overwrites it with what arrives, `recvReduce` adds what arrives to it. A range with
 * from = to is a token: a message without payload, by which `to` learns that `from` has come this far.
 *
 * Order: entries that touch a common element keep their order in the list (a send holds its range until it is flushed);
 * a token is sent after, and accepted after, every token that stands before it has arrived. Entries to (or from) one peer keep
 * their order. All else may overlap.
 */
export interface TransferOp {
  readonly op: 'send' | 'recv' | 'recvReduce'
  readonly peer: number
  readonly from: number
  readonly to: number
}

/** Local: the elements [from, to) are copied to [at, at + to - from), which does not touch them. */
export interface CopyOp {
  readonly op: 'copy'
  readonly from: number
  readonly to: number
  readonly at: number
}

/** Local: adds the elements [from, to) to [at, at + to - from), which does not touch them. */
export interface LocalReduceOp {
  readonly op: 'reduce'
  readonly from: number
  readonly to: number
  readonly at: number
}

/**
 * Local: the range is rounded in place to what a codec can carry, and its encoded form is kept for the sends that follow. Counts
 * as a write of the range. See `compress`.
 */
export interface EncodeOp {
  readonly op: 'encode'
  readonly from: number
  readonly to: number
}

export type LocalOp = CopyOp | LocalReduceOp | EncodeOp
export type PlanOp = TransferOp | LocalOp

/** How a rank's addresses are divided: the input, which no plan writes, then the output, then scratch. No range crosses a border. */
export interface RankSpace {
  readonly inputElems: number
  readonly outputElems: number
  readonly scratchElems: number
}

/** A collective algorithm for given sizes: per rank the list of what it sends, receives, adds, copies and encodes. */
export interface CollectivePlan {
  /** The algorithm, as in 'ring-all-reduce'. */
  readonly name: string
  readonly collective: Collective
  readonly ranks: number
  /** Elements of the whole buffer, which all ranks have alike and where an element keeps its place; with `spaces`: of all messages. */
  readonly elems: number
  readonly ops: readonly (readonly PlanOp[])[]
  /** Per rank, where input and output are apart. */
  readonly spaces?: readonly RankSpace[]
  /**
   * Copies of the buffer that a rank's addresses hold, default 1: the buffer itself, then scratch. Address layer · elems + i is
   * element i, and keeps being it wherever it goes.
   */
  readonly layers?: number
}

export interface PlanOptions {
  /** Number of ranks, from 1. */
  readonly ranks: number
  /** Elements of the whole buffer, from 0. */
  readonly elems: number
  /** Longest message in elements; what is longer is cut, and a piece is passed on as soon as it is complete. Default: no cut. */
  readonly segmentElems?: number
}

/** [from, to) of block `index` of `blocks`: ⌊elems·index/blocks⌋ up to the next; empty when elems < blocks asks for it. */
export function blockRange(elems: number, blocks: number, index: number): readonly [from: number, to: number] {
  return [Math.floor((elems * index) / blocks), Math.floor((elems * (index + 1)) / blocks)]
}

/** [from, to) cut in pieces of at most `segmentElems`; none when empty. */
export function segmentsOf(
  [from, to]: readonly [number, number],
  segmentElems = Number.POSITIVE_INFINITY,
): readonly (readonly [from: number, to: number])[] {
  const segments: (readonly [number, number])[] = []
  for (let at = from; at < to; at += segmentElems) segments.push([at, Math.min(to, at + segmentElems)])
  return segments
}

/** Elements that `rank` sends in the whole plan. */
export function sentElems(plan: CollectivePlan, rank: number): number {
  let sum = 0
  for (const op of plan.ops[rank] ?? []) if (op.op === 'send') sum += op.to - op.from
  return sum
}

/** Messages that `rank` sends in the whole plan. */
export function sentMessages(plan: CollectivePlan, rank: number): number {
  let count = 0
  for (const op of plan.ops[rank] ?? []) if (op.op === 'send') count++
  return count
}

/** Whether an entry is a message, and not something a rank does by itself. */
export function isTransfer(op: PlanOp): op is TransferOp {
  return op.op === 'send' || op.op === 'recv' || op.op === 'recvReduce'
}

/** "send [0,25) to 1", for messages. */
export function describeOp(op: PlanOp): string {
  const range = op.from === op.to ? 'token' : `[${op.from},${op.to})`
  if (op.op === 'encode') return `encode ${range}`
  if (!isTransfer(op)) return `${op.op} ${range} to [${op.at},${op.at + op.to - op.from})`
  return op.op === 'send' ? `send ${range} to ${op.peer}` : `${op.op} ${range} from ${op.peer}`
}

/** Whether two addresses of an in-place plan are the same element, in whichever copy of the buffer. */
export function isSamePlace(plan: CollectivePlan, a: number, b: number): boolean {
  return a === b || (a - b) % plan.elems === 0
}

/** Elements that a rank's addresses reach. */
export function addressSpace(plan: CollectivePlan, rank: number): number {
  const space = plan.spaces?.[rank]
  return space === undefined
    ? plan.elems * (plan.layers ?? 1)
    : space.inputElems + space.outputElems + space.scratchElems
}

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
  /** No rank ends before every rank has begun. */
  | { readonly kind: 'barrier' }

export type CollectiveKind = Collective['kind']

/**
 * One entry of a rank's list. `from`, `to`: elements [from, to) of the buffer that all ranks have alike.
 *
 * `send` reads the range, `recv` overwrites it with what arrives, `recvReduce` adds what arrives to it. A range with
 * from = to is a token: a message without payload, by which `to` learns that `from` has come this far.
 *
 * Order: entries that touch a common element keep their order in the list (a send holds its range until it is flushed);
 * a token is sent after, and accepted after, every token that stands before it has arrived. Entries to (or from) one peer keep
 * their order. All else may overlap.
 */
export interface PlanOp {
  readonly op: 'send' | 'recv' | 'recvReduce'
  readonly peer: number
  readonly from: number
  readonly to: number
}

/** A collective algorithm for given sizes: per rank the list of what it sends, receives and adds. */
export interface CollectivePlan {
  /** The algorithm, as in 'ring-all-reduce'. */
  readonly name: string
  readonly collective: Collective
  readonly ranks: number
  /** Elements of the whole buffer. */
  readonly elems: number
  readonly ops: readonly (readonly PlanOp[])[]
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

/** "send [0,25) to 1", for messages. */
export function describeOp(op: PlanOp): string {
  const range = op.from === op.to ? 'token' : `[${op.from},${op.to})`
  return op.op === 'send' ? `send ${range} to ${op.peer}` : `${op.op} ${range} from ${op.peer}`
}

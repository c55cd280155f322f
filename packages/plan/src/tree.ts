import { checkOptions, checkRoot } from './options.ts'
import { type CollectivePlan, type PlanOptions, segmentsOf, type TransferOp } from './plan.ts'

/**
 * Binomial-tree all-reduce: reduce to rank 0, then broadcast; ⌈lg N⌉ rounds each, 2(N-1) · elems sent by all ranks together,
 * at most ⌈lg N⌉ · elems by one. Error ≤ ⌈lg N⌉ u Σ|x|. For small buffers, where rounds count and bytes do not.
 */
export function treeAllReduce(options: PlanOptions): CollectivePlan {
  checkOptions(options)
  const { ranks, elems } = options
  const segments = segmentsOf([0, elems], options.segmentElems)
  const ops = Array.from({ length: ranks }, (_, r) => [
    ...upwards(r, ranks, segments),
    ...downwards(r, ranks, segments),
  ])
  return { name: 'tree-all-reduce', collective: { kind: 'all-reduce' }, ranks, elems, ops }
}

/** Binomial-tree broadcast: ⌈lg N⌉ rounds; each rank but the root receives the buffer once. */
export function binomialBroadcast(options: PlanOptions & { readonly root: number }): CollectivePlan {
  return rooted('binomial-broadcast', 'broadcast', options, downwards)
}

/** Binomial-tree reduce: ⌈lg N⌉ rounds; each rank but the root sends the buffer once. Error ≤ ⌈lg N⌉ u Σ|x|. */
export function binomialReduce(options: PlanOptions & { readonly root: number }): CollectivePlan {
  return rooted('binomial-reduce', 'reduce', options, upwards)
}

/** One way through the tree whose top, virtual rank 0, is the root. */
function rooted(
  name: string,
  kind: 'broadcast' | 'reduce',
  options: PlanOptions & { readonly root: number },
  way: typeof upwards,
): CollectivePlan {
  checkOptions(options)
  const { ranks, elems, root } = options
  checkRoot(root, ranks)
  const segments = segmentsOf([0, elems], options.segmentElems)
  const ops = Array.from({ length: ranks }, (_, r) =>
    way((r + ranks - root) % ranks, ranks, segments).map(op => ({ ...op, peer: (op.peer + root) % ranks })),
  )
  return { name, collective: { kind, root }, ranks, elems, ops }
}

/** Each piece from the children, the one with the smallest subtree first since that is complete first, and on to the parent. */
function upwards(r: number, ranks: number, segments: readonly (readonly [number, number])[]): TransferOp[] {
  const { parent, children } = binomialPlace(r, ranks)
  const list: TransferOp[] = []
  for (const [from, to] of segments) {
    for (const child of children) list.push({ op: 'recvReduce', peer: child, from, to })
    if (parent !== undefined) list.push({ op: 'send', peer: parent, from, to })
  }
  return list
}

/** Each piece from the parent, and on to the children, the one with the largest subtree first. */
function downwards(r: number, ranks: number, segments: readonly (readonly [number, number])[]): TransferOp[] {
  const { parent, children } = binomialPlace(r, ranks)
  const list: TransferOp[] = []
  for (const [from, to] of segments) {
    if (parent !== undefined) list.push({ op: 'recv', peer: parent, from, to })
    for (const child of children.toReversed()) list.push({ op: 'send', peer: child, from, to })
  }
  return list
}

/** In the binomial tree over 0 … ranks-1: the parent clears the lowest set bit; children set one below it, smallest first. */
export function binomialPlace(
  r: number,
  ranks: number,
): { readonly parent: number | undefined; readonly children: number[] } {
  const lowest = r === 0 ? ranks : r & -r
  const children: number[] = []
  for (let bit = 1; bit < lowest; bit *= 2) if (r + bit < ranks) children.push(r + bit)
  return { parent: r === 0 ? undefined : r - lowest, children }
}

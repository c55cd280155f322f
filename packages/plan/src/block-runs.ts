import { transfers } from './folding.ts'
import { checkOptions, checkRoot } from './options.ts'
import { blockRange, type CollectivePlan, type PlanOptions, segmentsOf, type TransferOp } from './plan.ts'
import { binomialPlace } from './tree.ts'

/**
 * Binomial gather: ⌈lg N⌉ rounds; each rank sends the blocks of its subtree, which lie side by side, once: (N-1)/N · elems arrive at
 * the root, at most N/2 blocks pass through another. Where a subtree goes over the last rank its run is two messages.
 * @see Thakur, Rabenseifner & Gropp 2005
 */
export function binomialGather(options: PlanOptions & { readonly root: number }): CollectivePlan {
  const { root } = options
  return rooted('binomial-gather', { kind: 'gather', root }, options, ({ parent, children }, runOf, self) => [
    ...children.flatMap(child => transfers('recv', child, runOf(child))),
    ...(parent === undefined ? [] : transfers('send', parent, runOf(self))),
  ])
}

/** Binomial scatter: the gather backwards; the largest subtree is served first. */
export function binomialScatter(options: PlanOptions & { readonly root: number }): CollectivePlan {
  const { root } = options
  return rooted('binomial-scatter', { kind: 'scatter', root }, options, ({ parent, children }, runOf, self) => [
    ...(parent === undefined ? [] : transfers('recv', parent, runOf(self))),
    ...children.toReversed().flatMap(child => transfers('send', child, runOf(child))),
  ])
}

/**
 * Bruck's all-gather for any N: ⌈lg N⌉ rounds; in round k rank r holds the blocks r … r+2^k-1 and sends them, as far as they are
 * wanted, to r-2^k. (N-1)/N · elems sent per rank. Blocks stay in their places, so a run over the last rank is two messages.
 * @see Bruck et al. 1997, who turn the buffer instead
 */
export function bruckAllGather(options: PlanOptions): CollectivePlan {
  checkOptions(options)
  const { ranks, elems } = options
  const ops = Array.from({ length: ranks }, (_, rank) => {
    const list: TransferOp[] = []
    for (let distance = 1; distance < ranks; distance *= 2) {
      const blocks = Math.min(distance, ranks - distance)
      const from = (rank + distance) % ranks
      list.push(...transfers('send', (rank + ranks - distance) % ranks, runPieces(options, rank, blocks)))
      list.push(...transfers('recv', from, runPieces(options, from, blocks)))
    }
    return list
  })
  return { name: 'bruck-all-gather', collective: { kind: 'all-gather' }, ranks, elems, ops }
}

type Piece = readonly [from: number, to: number]

/** The blocks `first` … `first + blocks - 1`, counted round, as ranges: two where they go over the end, none longer than a segment. */
function runPieces({ ranks, elems, segmentElems }: PlanOptions, first: number, blocks: number): readonly Piece[] {
  const borderOf = (block: number) => blockRange(elems, ranks, block)[0]
  const last = first + blocks
  const runs: Piece[] =
    last <= ranks
      ? [[borderOf(first), borderOf(last)]]
      : [
          [borderOf(first), elems],
          [0, borderOf(last - ranks)],
        ]
  return runs.flatMap(run => segmentsOf(run, segmentElems))
}

function rooted(
  name: string,
  collective: CollectivePlan['collective'],
  options: PlanOptions & { readonly root: number },
  opsOf: (
    place: { readonly parent: number | undefined; readonly children: readonly number[] },
    runOf: (rank: number) => readonly Piece[],
    self: number,
  ) => TransferOp[],
): CollectivePlan {
  checkOptions(options)
  const { ranks, elems, root } = options
  checkRoot(root, ranks)
  // Virtual rank 0 is the root; the subtree of v is v … v + its lowest set bit - 1.
  const actual = (virtual: number) => (virtual + root) % ranks
  const virtualOf = (rank: number) => (rank + ranks - root) % ranks
  const runOf = (rank: number) => {
    const virtual = virtualOf(rank)
    return runPieces(options, rank, Math.min(virtual & -virtual, ranks - virtual))
  }
  const ops = Array.from({ length: ranks }, (_, rank) => {
    const { parent, children } = binomialPlace(virtualOf(rank), ranks)
    return opsOf(
      { parent: parent === undefined ? undefined : actual(parent), children: children.map(actual) },
      runOf,
      rank,
    )
  })
  return { name, collective, ranks, elems, ops }
}

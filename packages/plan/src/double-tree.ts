import { checkOptions } from './options.ts'
import { type CollectivePlan, type PlanOp, type PlanOptions, segmentsOf } from './plan.ts'

/**
 * Double binary tree: half of the buffer is reduced up and broadcast down one tree, half the other, cut in segments that follow each
 * other. Inner ranks of one tree are leaves of the other, so each rank sends at most 2 · elems and the time is near
 * 2⌈lg N⌉(α + cβ) + 2nβ for segments of c bytes: latency of a tree, bandwidth near the ring's. Error ≤ 2⌈lg N⌉ u Σ|x|.
 * @see Sanders, Speck & Träff 2009; HFReduce (An et al. 2024) uses it between hosts
 */
export function doubleTreeAllReduce(options: PlanOptions): CollectivePlan {
  checkOptions(options)
  const { ranks, elems, segmentElems } = options
  const half = Math.ceil(elems / 2)
  const trees = [
    { places: binaryTree(ranks), segments: segmentsOf([0, half], segmentElems) },
    { places: mirrored(binaryTree(ranks)), segments: segmentsOf([half, elems], segmentElems) },
  ]
  const ops = Array.from({ length: ranks }, (_, rank) => {
    const lists = trees.map(({ places, segments }) =>
      segments.map(([from, to]): readonly [PlanOp[], PlanOp[]] => {
        const { parent, children } = places[rank] as TreePlace
        const up: PlanOp[] = children.map(peer => ({ op: 'recvReduce', peer, from, to }))
        if (parent !== undefined) up.push({ op: 'send', peer: parent, from, to })
        const down: PlanOp[] = parent === undefined ? [] : [{ op: 'recv', peer: parent, from, to }]
        down.push(...children.map((peer): PlanOp => ({ op: 'send', peer, from, to })))
        return [up, down]
      }),
    )
    const rounds = Math.max(...lists.map(list => list.length))
    // The trees take turns, up before down: the order of each lane is the same at both its ends.
    const phase = (which: 0 | 1) =>
      Array.from({ length: rounds }, (__, i) => lists.flatMap(list => list[i]?.[which] ?? [])).flat()
    return [...phase(0), ...phase(1)]
  })
  return { name: 'double-tree-all-reduce', collective: { kind: 'all-reduce' }, ranks, elems, ops }
}

export interface TreePlace {
  readonly parent: number | undefined
  readonly children: readonly number[]
}

/**
 * Rank 0 on top of a binary tree over 1 … N-1 in which odd ranks are leaves: with b the lowest set bit, r's parent is (r ^ b) | 2b,
 * or r ^ b where that is no rank. At most two children.
 */
export function binaryTree(ranks: number): TreePlace[] {
  const parents = Array.from({ length: ranks }, (_, rank) => {
    if (rank === 0) return undefined
    const lowest = rank & -rank
    const upper = (rank ^ lowest) | (lowest << 1)
    return upper < ranks ? upper : rank ^ lowest
  })
  return placesOf(parents)
}

/** The second tree: ranks counted from the other end (N even) or shifted by one (N odd), so that leaves become inner ranks. */
export function mirrored(tree: readonly TreePlace[]): TreePlace[] {
  const ranks = tree.length
  const other = (rank: number) => (ranks % 2 === 0 ? ranks - 1 - rank : (rank + 1) % ranks)
  const parents: (number | undefined)[] = Array(ranks)
  for (const [rank, { parent }] of tree.entries())
    parents[other(rank)] = parent === undefined ? undefined : other(parent)
  return placesOf(parents)
}

function placesOf(parents: readonly (number | undefined)[]): TreePlace[] {
  const children: number[][] = parents.map(() => [])
  for (const [rank, parent] of parents.entries()) if (parent !== undefined) children[parent]?.push(rank)
  return parents.map((parent, rank) => ({ parent, children: children[rank] as number[] }))
}

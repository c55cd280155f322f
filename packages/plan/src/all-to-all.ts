import { checkCounts, checkHosts } from './options.ts'
import { othersFrom } from './direct.ts'
import { type HostOptions, ranksByHost } from './hierarchical.ts'
import { type CollectivePlan, type PlanOp, type RankSpace, segmentsOf } from './plan.ts'

export interface AllToAllOptions {
  /** counts[s][d]: elements from rank s to rank d. */
  readonly counts: readonly (readonly number[])[]
  readonly segmentElems?: number
}

/**
 * Pairwise all-to-all: N-1 rounds; in round i rank r sends to r+i and receives from r-i, so every link carries one message at a
 * time. (N-1)/N of the input sent per rank. Any counts, also none.
 * @see Thakur, Rabenseifner & Gropp 2005
 */
export function pairwiseAllToAll(options: AllToAllOptions): CollectivePlan {
  return exchange('pairwise-all-to-all', options, (rank, ranks) => {
    const rounds: PlanOp[] = []
    for (let i = 1; i < ranks; i++) {
      rounds.push(...sends(options, rank, (rank + i) % ranks), ...receives(options, rank, (rank + ranks - i) % ranks))
    }
    return rounds
  })
}

/** Direct all-to-all: all messages at once, for the links to sort out. */
export function directAllToAll(options: AllToAllOptions): CollectivePlan {
  return exchange('direct-all-to-all', options, (rank, ranks) => [
    ...othersFrom(rank, ranks).flatMap(peer => sends(options, rank, peer)),
    ...othersFrom(rank, ranks)
      .toReversed()
      .flatMap(peer => receives(options, rank, peer)),
  ])
}

/**
 * Bruck's all-to-all for equal blocks of E: ⌈lg N⌉ rounds instead of N-1, each carrying about half of the blocks, so
 * ≈ (N/2) lg N · E sent per rank. Blocks are first turned so that T[i] is the one for rank r+i; in round k those with bit k of i go
 * to r+2^k in one message, packed once; T[i] then came from rank r-i.
 * @see Bruck et al. 1997
 */
export function bruckAllToAll(options: { readonly ranks: number; readonly blockElems: number }): CollectivePlan {
  const { ranks, blockElems: size } = options
  const counts = Array.from({ length: ranks }, () => Array<number>(ranks).fill(size))
  checkCounts(counts)
  const moved = Array.from({ length: ranks - 1 }, (_, i) => i + 1)
  const mostPacked = Math.max(0, ...bits(ranks).map(bit => moved.filter(i => i & bit).length))
  const turned = 2 * ranks * size
  const packedOut = turned + ranks * size
  const packedIn = packedOut + mostPacked * size
  const space = { inputElems: ranks * size, outputElems: ranks * size, scratchElems: (ranks + 2 * mostPacked) * size }
  const ops = Array.from({ length: ranks }, (_, rank): PlanOp[] => {
    if (size === 0) return []
    const list: PlanOp[] = []
    const copy = (from: number, at: number) => list.push({ op: 'copy', from, to: from + size, at })
    copy(rank * size, (ranks + rank) * size)
    for (const i of moved) copy(((rank + i) % ranks) * size, turned + i * size)
    for (const bit of bits(ranks)) {
      const packed = moved.filter(i => i & bit)
      for (const [place, i] of packed.entries()) copy(turned + i * size, packedOut + place * size)
      const bytes = packed.length * size
      list.push({ op: 'send', peer: (rank + bit) % ranks, from: packedOut, to: packedOut + bytes })
      list.push({ op: 'recv', peer: (rank + ranks - bit) % ranks, from: packedIn, to: packedIn + bytes })
      for (const [place, i] of packed.entries()) copy(packedIn + place * size, turned + i * size)
    }
    for (const i of moved) copy(turned + i * size, (ranks + ((rank + ranks - i) % ranks)) * size)
    return list
  })
  const spaces = Array.from({ length: ranks }, () => space)
  return {
    name: 'bruck-all-to-all',
    collective: { kind: 'all-to-all', counts },
    ranks,
    elems: ranks * ranks * size,
    ops,
    spaces,
  }
}

/**
 * Two-level all-to-all for equal blocks of E and L ranks on each of H hosts: within a host, rank with place j gathers the blocks for
 * place j of every host; across, ranks of one place exchange what H-1 messages of L blocks carry. Between hosts it sends N/L - 1
 * messages instead of N - L, each L times as long.
 * @see Hwang et al. 2023 (Tutel), section 4.3; Nie et al. 2022 (HetuMoE)
 */
export function twoLevelAllToAll(options: HostOptions & { readonly blockElems: number }): CollectivePlan {
  const { hosts, blockElems: size } = options
  const ranks = hosts.length
  checkHosts(hosts, ranks)
  const members = ranksByHost(hosts)
  const [numHosts, perHost] = [members.length, members[0]?.length ?? 0]
  const counts = Array.from({ length: ranks }, () => Array<number>(ranks).fill(size))
  checkCounts(counts)
  if (members.some(list => list.length !== perHost)) checkHosts([], ranks)
  // Scratch: what is sent within the host [place][host], what arrives there [host][place], what arrives from hosts [host][place].
  const packed = 2 * ranks * size
  const gathered = packed + ranks * size
  const crossed = gathered + ranks * size
  const space = { inputElems: ranks * size, outputElems: ranks * size, scratchElems: 3 * ranks * size }
  const ops = Array.from({ length: ranks }, (_, rank): PlanOp[] => {
    if (size === 0) return []
    const host = members.findIndex(list => list.includes(rank))
    const own = members[host] as readonly number[]
    const place = own.indexOf(rank)
    const rankAt = (h: number, p: number) => members[h]?.[p] as number
    const list: PlanOp[] = []
    const copy = (from: number, at: number) =>
      list.push({ op: 'copy', from: from * size, to: (from + 1) * size, at: at * size })
    const at = (base: number, index: number) => base / size + index
    const arrived = (p: number) => at(gathered, p * numHosts)
    for (let p = 0; p < perHost; p++) {
      for (let h = 0; h < numHosts; h++) {
        copy(rankAt(h, p), p === place ? arrived(p) + h : at(packed, p * numHosts + h))
      }
    }
    for (const p of othersFrom(place, perHost)) {
      const from = packed + p * numHosts * size
      list.push({ op: 'send', peer: own[p] as number, from, to: from + numHosts * size })
    }
    for (const p of othersFrom(place, perHost)) {
      const from = arrived(p) * size
      list.push({ op: 'recv', peer: own[p] as number, from, to: from + numHosts * size })
    }
    // The blocks for host h, by the place they came from; `packed` is free again once it is sent.
    for (let h = 0; h < numHosts; h++) {
      for (let p = 0; p < perHost; p++)
        copy(arrived(p) + h, h === host ? at(crossed, h * perHost + p) : at(packed, h * perHost + p))
    }
    for (const h of othersFrom(host, numHosts)) {
      const from = packed + h * perHost * size
      list.push({ op: 'send', peer: rankAt(h, place), from, to: from + perHost * size })
    }
    for (const h of othersFrom(host, numHosts)) {
      const from = crossed + h * perHost * size
      list.push({ op: 'recv', peer: rankAt(h, place), from, to: from + perHost * size })
    }
    for (let h = 0; h < numHosts; h++) {
      for (let p = 0; p < perHost; p++) copy(at(crossed, h * perHost + p), ranks + rankAt(h, p))
    }
    return list
  })
  const spaces = Array.from({ length: ranks }, () => space)
  const collective = { kind: 'all-to-all', counts } as const
  return { name: 'two-level-all-to-all', collective, ranks, elems: ranks * ranks * size, ops, spaces }
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)
const bits = (ranks: number) => Array.from({ length: Math.ceil(Math.log2(ranks)) }, (_, k) => 2 ** k)

/** A plan that moves each block from its place in the input straight to its place in the output. */
function exchange(
  name: string,
  options: AllToAllOptions,
  opsOf: (rank: number, ranks: number) => readonly PlanOp[],
): CollectivePlan {
  const { counts } = options
  checkCounts(counts)
  const ranks = counts.length
  const spaces = counts.map(
    (row, rank): RankSpace => ({
      inputElems: sum(row),
      outputElems: sum(counts.map(from => from[rank] as number)),
      scratchElems: 0,
    }),
  )
  const ops = counts.map((row, rank) => {
    const own = row[rank] as number
    const [from] = inputBlock(counts, rank, rank)
    const [at] = outputBlock(counts, rank, rank)
    const kept: PlanOp[] = own === 0 ? [] : [{ op: 'copy', from, to: from + own, at }]
    return [...kept, ...opsOf(rank, ranks)]
  })
  return { name, collective: { kind: 'all-to-all', counts }, ranks, elems: sum(counts.flat()), ops, spaces }
}

/** Where in the input of `rank` the block for `peer` lies. */
function inputBlock(counts: AllToAllOptions['counts'], rank: number, peer: number): readonly [number, number] {
  const row = counts[rank] as readonly number[]
  const from = sum(row.slice(0, peer))
  return [from, from + (row[peer] as number)]
}

/** Where in the addresses of `rank` the block from `peer` is to lie. */
function outputBlock(counts: AllToAllOptions['counts'], rank: number, peer: number): readonly [number, number] {
  const column = counts.map(row => row[rank] as number)
  const from = sum(counts[rank] as readonly number[]) + sum(column.slice(0, peer))
  return [from, from + (column[peer] as number)]
}

function sends({ counts, segmentElems }: AllToAllOptions, rank: number, peer: number): PlanOp[] {
  return segmentsOf(inputBlock(counts, rank, peer), segmentElems).map(([from, to]) => ({ op: 'send', peer, from, to }))
}

function receives({ counts, segmentElems }: AllToAllOptions, rank: number, peer: number): PlanOp[] {
  return segmentsOf(outputBlock(counts, rank, peer), segmentElems).map(([from, to]) => ({ op: 'recv', peer, from, to }))
}

import { embed } from './embed.ts'
import { checkHosts, checkOptions } from './options.ts'
import { blockRange, type CollectivePlan, type PlanOp, type PlanOptions } from './plan.ts'
import { ringAllGather, ringAllReduce, ringReduceScatter } from './ring.ts'
import { binomialBroadcast, binomialReduce } from './tree.ts'

export interface HostOptions {
  /** The host of each rank, as any numbers. */
  readonly hosts: readonly number[]
}

/**
 * All-reduce in two levels: within hosts, across them, within hosts. With L ranks on each of H hosts: a ring reduce-scatter within
 * the host, a ring all-reduce of block j among the ranks with place j on every host, a ring all-gather within; each host sends
 * 2(H-1)/H · elems to others, once, however many ranks it has. Where hosts differ in size one rank of each reduces for it.
 * @see An et al. 2024 (HFReduce); Cho et al. 2019 (BlueConnect)
 */
export function hierarchicalAllReduce(options: PlanOptions & HostOptions): CollectivePlan {
  checkOptions(options)
  checkHosts(options.hosts, options.ranks)
  const { ranks, elems } = options
  const members = ranksByHost(options.hosts)
  const sizes = new Set(members.map(list => list.length))
  const phases = sizes.size === 1 ? byBlocks(members, options) : byLeaders(members, options)
  const ops = Array.from({ length: ranks }, (_, rank) => phases.flatMap(phase => phase.get(rank) ?? []))
  return { name: 'hierarchical-all-reduce', collective: { kind: 'all-reduce' }, ranks, elems, ops }
}

/** Ranks of each host, hosts by their first rank. */
export function ranksByHost(hosts: readonly number[]): readonly (readonly number[])[] {
  const members = new Map<number, number[]>()
  for (const [rank, host] of hosts.entries()) members.set(host, [...(members.get(host) ?? []), rank])
  return [...members.values()]
}

type Phase = ReadonlyMap<number, readonly PlanOp[]>
const merged = (maps: readonly Phase[]): Phase => new Map(maps.flatMap(map => [...map]))

function byBlocks(members: readonly (readonly number[])[], { elems, segmentElems }: PlanOptions): Phase[] {
  const perHost = members[0]?.length ?? 0
  const segments = segmentElems === undefined ? {} : { segmentElems }
  const within = { ranks: perHost, elems, ...segments }
  const across = Array.from({ length: perHost }, (_, place) => {
    const [from, to] = blockRange(elems, perHost, place)
    const plan = ringAllReduce({ ranks: members.length, elems: to - from, ...segments })
    return embed(
      plan,
      members.map(list => list[place] as number),
      from,
    )
  })
  return [
    merged(members.map(list => embed(ringReduceScatter(within), list, 0))),
    merged(across),
    merged(members.map(list => embed(ringAllGather(within), list, 0))),
  ]
}

function byLeaders(members: readonly (readonly number[])[], { elems, segmentElems }: PlanOptions): Phase[] {
  const segments = segmentElems === undefined ? {} : { segmentElems }
  const sizes = (list: readonly number[]) => ({ ranks: list.length, elems, ...segments, root: 0 })
  const leaders = members.map(list => list[0] as number)
  return [
    merged(members.map(list => embed(binomialReduce(sizes(list)), list, 0))),
    embed(ringAllReduce(sizes(leaders)), leaders, 0),
    merged(members.map(list => embed(binomialBroadcast(sizes(list)), list, 0))),
  ]
}

import { graphOf } from './graph.ts'
import type { Schedule } from './schedule.ts'

/**
 * Fewest messages that each directed link must be able to hold if a send blocks while the link is full, and a message leaves it
 * when the op that takes it comes up. 0 is a rendezvous. What blocks for good with fewer is a deadlock that depends on the sockets;
 * the executor therefore never lets a send block a device, and counts what has come early as memory (`peakQueued`).
 */
export function leastSlots(schedule: Schedule): number {
  let slots = 0
  while (!runsWith(schedule, slots)) slots++
  return slots
}

/** Buffers for messages to one rank: with fewer than `leastSlots` a send could wait for good; with some more it hardly ever waits at all. */
export function sendBuffers(schedule: Schedule): number {
  return leastSlots(schedule) + 3
}

/** A rank takes what its next op needs, does it, then sends to each rank that needs it, in turn. */
function runsWith(schedule: Schedule, slots: number): boolean {
  const { nodes, ranks } = graphOf(schedule)
  const takers = nodes.map(() => [] as number[])
  for (const node of nodes) {
    for (const input of node.inputs) if (nodes[input]?.rank !== node.rank) takers[input]?.push(node.rank)
  }
  const heads = ranks.map(() => 0)
  const done = new Set<number>()
  /** Per rank the node whose result it still has to send, and to whom. */
  const sending = ranks.map((): { readonly node: number; readonly to: number[] } | undefined => undefined)
  const onLink = new Map<string, Set<number>>()
  const linkOf = (from: number, to: number) => {
    const key = `${from} ${to}`
    const link = onLink.get(key) ?? new Set<number>()
    onLink.set(key, link)
    return link
  }
  const send = (rank: number): boolean => {
    const pending = sending[rank]
    const to = pending?.to[0]
    if (pending === undefined || to === undefined) return false
    const link = linkOf(rank, to)
    const next = ranks[to]?.[heads[to] as number]
    // A rendezvous: the other rank stands at the op that takes this, and has nothing to send itself.
    const isMet = sending[to] === undefined && next?.inputs.includes(pending.node) === true
    if (slots === 0 ? !isMet : link.size >= slots) return false
    link.add(pending.node)
    pending.to.shift()
    if (pending.to.length === 0) sending[rank] = undefined
    return true
  }
  const compute = (rank: number): boolean => {
    const node = ranks[rank]?.[heads[rank] as number]
    if (node === undefined || sending[rank] !== undefined) return false
    const isHere = (input: number) => {
      const from = nodes[input]?.rank as number
      return from === rank ? done.has(input) : linkOf(from, rank).has(input)
    }
    if (!node.inputs.every(isHere)) return false
    for (const input of node.inputs) linkOf(nodes[input]?.rank as number, rank).delete(input)
    done.add(node.id)
    heads[rank] = (heads[rank] as number) + 1
    const to = takers[node.id] ?? []
    if (to.length > 0) sending[rank] = { node: node.id, to: [...to] }
    return true
  }
  for (let moved = true; moved; ) {
    moved = false
    for (const rank of ranks.keys()) while (send(rank) || compute(rank)) moved = true
  }
  return done.size === nodes.length && sending.every(pending => pending === undefined)
}

import type { EventQueue } from './event-queue.test.support.ts'
import type { GenerationMember } from './messages.ts'

/** A process with lanes to others, as the network between workers sees it. */
export interface LaneOwner {
  readonly lanePort: number
  readonly isDead: boolean
  /** Number of the generation it is in. */
  readonly generationNumber: number | undefined
  awake(act: () => void): void
  /** All members of the generation are at this place. */
  met(generation: number, place: string): void
  lostPeer(generation: number, peerRank: number): void
}

/** Loss of lanes that one process sees when it talks to another. */
interface Cut {
  readonly seenBy: LaneOwner
  readonly peer: LaneOwner
}

/** What lies between workers: places where all members of a generation meet (connections, collectives), deaths, and cuts. */
export class SimulatedLanes {
  readonly #queue: EventQueue
  readonly #delayMs: (most: number) => number
  readonly #meeting = new Map<string, Set<LaneOwner>>()
  readonly #cuts = new Set<Cut>()
  readonly #dead = new Set<LaneOwner>()
  readonly #ranks = new WeakMap<readonly GenerationMember[], ReadonlyMap<number, number>>()

  constructor(queue: EventQueue, delayMs: (most: number) => number) {
    this.#queue = queue
    this.#delayMs = delayMs
  }

  /** Waits there for all members of the generation; whoever has a dead peer, or is cut off from one, hears that instead. */
  meet(owner: LaneOwner, generation: number, place: string, members: readonly GenerationMember[]): void {
    if (owner.generationNumber !== generation) return
    const ranks = this.#ranksOf(members)
    const key = `${generation} ${place}`
    const here = (this.#meeting.get(key) ?? new Set()).add(owner)
    this.#meeting.set(key, here)
    for (const dead of this.#dead) if (this.#tellLoss(owner, generation, ranks.get(dead.lanePort), 20)) return
    for (const { seenBy, peer } of this.#cuts)
      if (seenBy === owner && this.#tellLoss(owner, generation, ranks.get(peer.lanePort), 200)) return
    if (here.size < members.length) return
    this.#meeting.delete(key)
    for (const one of here) this.#queue.after(this.#delayMs(10), () => one.awake(() => one.met(generation, place)))
  }

  /** The process has ended: whoever shares a generation with it sees its lanes break. */
  died(owner: LaneOwner, peers: Iterable<LaneOwner>, generation: number | undefined, rank: number): void {
    this.#dead.add(owner)
    if (generation === undefined) return
    for (const peer of peers) if (peer.generationNumber === generation) this.#tellLoss(peer, generation, rank, 20)
  }

  /** For a while `seenBy` has no lanes with `peer`; the other way round only if it is cut as well. */
  cut(seenBy: LaneOwner, peer: LaneOwner, peerRank: number, ms: number): void {
    const cut = { seenBy, peer }
    this.#cuts.add(cut)
    this.#queue.after(ms, () => this.#cuts.delete(cut))
    const generation = seenBy.generationNumber
    if (generation !== undefined && peer.generationNumber === generation)
      this.#tellLoss(seenBy, generation, peerRank, 50)
  }

  #tellLoss(owner: LaneOwner, generation: number, rank: number | undefined, withinMs: number): boolean {
    if (rank === undefined) return false
    this.#queue.after(this.#delayMs(withinMs), () => owner.awake(() => owner.lostPeer(generation, rank)))
    return true
  }

  /** Rank by lane port, which tells one process of a worker from the next. */
  #ranksOf(members: readonly GenerationMember[]): ReadonlyMap<number, number> {
    const known = this.#ranks.get(members)
    if (known !== undefined) return known
    const ranks = new Map(members.map(member => [member.lane.port, member.rank]))
    this.#ranks.set(members, ranks)
    return ranks
  }
}

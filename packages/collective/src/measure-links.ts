import { type Clock, type Ms, systemClock } from '@skein/core'
import { type LinkFigures, ringOrder } from '@skein/plan'
import { wrongArgument } from './check-group.ts'
import type { Collectives } from './collectives.ts'
import type { TensorRegion } from './region.ts'

export interface MeasureOptions {
  readonly group: Collectives
  /** float32 memory of the caller's, free for the time of the call: `measuringElems(worldSize)` at least, more gives better figures. */
  readonly region: TensorRegion
  /** That memory, [region.elems]. */
  readonly view: Float32Array
  readonly clock?: Clock
}

/** What all ranks know of their links afterwards, the same numbers on each. */
export interface MeasuredLinks {
  /** One-way latency of every pair, in ms; 0 on the diagonal. */
  readonly latencyMs: readonly (readonly number[])[]
  /** 1 / bandwidth of every pair, in ms a byte. */
  readonly msPerByte: readonly (readonly number[])[]
  /** The worst pair's, for the choice of algorithms. */
  readonly worst: LinkFigures
  /** Of the ring with the least worst edge. */
  readonly ringOrder: readonly number[]
}

/** Figures that go round at the end: three tables of all pairs. */
export const measuringElems = (worldSize: number) => Math.max(16_384, 3 * worldSize * worldSize + 16)

const pings = 5
/** Fewer than a connection may have on its way when it is new. */
const burst = 8
const bursts = 3
/** A probe grows until it takes this many round trips, so that the start of a connection does not count. */
const longRoundTrips = 8
const longMs = 4
const firstProbeElems = 16_384
const incastRounds = 2
/** More than this is an accident. */
const mostIncast = 3

/**
 * Measures latency, bandwidth and cost of a message between every pair of ranks, by messages of the group; in N-1 rounds (N where N
 * is odd) in which each rank is in at most one pair. To be called by all ranks at the same place among their ops. Takes some round
 * trips a round: milliseconds within a host, seconds on links of 100 ms. @throws SKEIN_COLLECTIVE_ARGUMENT where there is too little memory
 */
export async function measureLinks(options: MeasureOptions): Promise<MeasuredLinks> {
  const { group, region, view, clock = systemClock } = options
  const { rank, worldSize } = group
  if (region.elems < measuringElems(worldSize) || view.length < region.elems) {
    throw wrongArgument(`the links of ${worldSize} ranks were to be measured in ${region.elems} float32`, {
      needed: measuringElems(worldSize),
    })
  }
  const probe = new Probe(group, region, view, clock)
  const tables = Array.from({ length: 3 }, () => new Float32Array(worldSize * worldSize))
  for (const pairs of tournament(worldSize)) {
    const pair = pairs.find(members => members.includes(rank))
    if (pair === undefined) continue
    const [first, second] = pair
    if (rank === second) {
      await probe.answer(first)
      continue
    }
    const found = await probe.ask(second)
    for (const at of [first * worldSize + second, second * worldSize + first]) {
      for (const [i, value] of [found.latencyMs, found.msPerByte, found.msPerMessage].entries()) {
        ;(tables[i] as Float32Array)[at] = value
      }
    }
  }
  // Each pair was measured by one rank; the others have 0 there.
  const all = view.subarray(0, 3 * worldSize * worldSize)
  for (const [i, table] of tables.entries()) all.set(table, i * worldSize * worldSize)
  await group.allReduce({ ...region, elems: all.length }, { algorithm: 'star' })
  const tableAt = (i: number) =>
    Array.from({ length: worldSize }, (_, row) =>
      Array.from(all.subarray(i * worldSize ** 2 + row * worldSize, i * worldSize ** 2 + (row + 1) * worldSize)),
    )
  const [latencyMs, msPerByte, msPerMessage] = [tableAt(0), tableAt(1), tableAt(2)] as const
  const largest = (table: readonly (readonly number[])[]) => Math.max(0, ...table.flat())
  const pairs = { latencyMs: largest(latencyMs), msPerByte: largest(msPerByte) }
  const incast = await measureIncast(options, clock, pairs)
  return {
    latencyMs,
    msPerByte,
    worst: { ...pairs, msPerMessage: largest(msPerMessage), incast },
    ringOrder: ringOrder(msPerByte),
  }
}

/**
 * All others send to rank 0 at once, which tells everyone how much longer that took than as much from one of them would.
 * Several flows into one port fill its queue and lose to each other.
 */
async function measureIncast(options: MeasureOptions, clock: Clock, links: LinkFigures): Promise<number> {
  const { group, region, view } = options
  const { rank, worldSize } = group
  if (worldSize <= 2) return 1
  // As long as eight round trips of one flow, so that it is not the start of the flows that is seen; as much as there is memory.
  const wanted = (2 * longRoundTrips * links.latencyMs + longMs) / Math.max(links.msPerByte, 1e-9) / 4
  const each = Math.floor(Math.min(wanted, region.elems - 16) / (worldSize - 1))
  const part = (from: number) => ({ ...region, byteOffset: region.byteOffset + from * 4, elems: each })
  let factor = mostIncast
  for (let i = 0; i < incastRounds; i++) {
    await group.barrier()
    const startMs = clock.now()
    if (rank === 0) {
      await Promise.all(
        Array.from({ length: worldSize - 1 }, (_, peer) => group.recv(part(16 + peer * each), peer + 1)),
      )
      const aloneMs = links.latencyMs + each * (worldSize - 1) * 4 * links.msPerByte
      factor = Math.min(factor, (clock.now() - startMs) / Math.max(aloneMs, 1e-9))
    } else await group.send(part(16), 0)
  }
  view[0] = Math.max(1, factor)
  await group.broadcast({ ...region, elems: 1 }, 0)
  return view[0]
}

/** Pairs of ranks by rounds: each pair once, each rank at most once a round (the circle method). */
export function tournament(ranks: number): readonly (readonly (readonly [number, number])[])[] {
  const seats = ranks + (ranks % 2)
  return Array.from({ length: Math.max(0, seats - 1) }, (_, round) =>
    Array.from({ length: seats / 2 }, (__, i) => {
      const a = i === 0 ? seats - 1 : (round + i) % (seats - 1)
      const b = (round + seats - 1 - i) % (seats - 1)
      return [Math.min(a, b), Math.max(a, b)] as const
    }).filter(([, b]) => b < ranks),
  )
}

/** The two sides of one pair's measurement; the asking side leads, and says before each probe how long it is. */
class Probe {
  readonly #group: Collectives
  readonly #region: TensorRegion
  readonly #view: Float32Array
  readonly #clock: Clock

  constructor(group: Collectives, region: TensorRegion, view: Float32Array, clock: Clock) {
    this.#group = group
    this.#region = region
    this.#view = view
    this.#clock = clock
  }

  async ask(peer: number): Promise<Required<Pick<LinkFigures, 'latencyMs' | 'msPerByte' | 'msPerMessage'>>> {
    let roundTripMs = Number.POSITIVE_INFINITY
    for (let i = 0; i < pings; i++) roundTripMs = Math.min(roundTripMs, await this.#exchange(peer, 1, 1))
    let burstMs = Number.POSITIVE_INFINITY
    for (let i = 0; i < bursts; i++) burstMs = Math.min(burstMs, await this.#exchange(peer, 1, burst))
    const msPerMessage = Math.max(0, burstMs - roundTripMs) / burst
    let msPerByte = 0
    let former = { elems: 1, ms: roundTripMs }
    for (let elems = Math.min(firstProbeElems, this.#largest); ; elems = Math.min(4 * elems, this.#largest)) {
      const ms = await this.#exchange(peer, elems, 1)
      msPerByte = Math.max(ms - former.ms, 0) / ((elems - former.elems) * 4)
      former = { elems, ms }
      if (elems === this.#largest || ms > longRoundTrips * roundTripMs + longMs) break
    }
    await this.#announce(peer, 0, 0)
    return { latencyMs: roundTripMs / 2, msPerByte, msPerMessage }
  }

  async answer(peer: number): Promise<void> {
    for (;;) {
      await this.#group.recv(this.#part(0, 2), peer)
      const [elems = 0, messages = 0] = this.#view
      if (elems === 0) return
      await this.#group.send(this.#part(2, 1), peer)
      await Promise.all(this.#pieces(elems, messages).map((piece, tag) => this.#group.recv(piece, peer, tag)))
      await this.#group.send(this.#part(0, 1), peer)
    }
  }

  get #largest(): number {
    return this.#region.elems - 4
  }

  /** Time from the first of `messages` of `elems` to the answer that all have arrived. */
  async #exchange(peer: number, elems: number, messages: number): Promise<Ms> {
    await this.#announce(peer, elems, messages)
    await this.#group.recv(this.#part(2, 1), peer)
    const startMs = this.#clock.now()
    await Promise.all(this.#pieces(elems, messages).map((piece, tag) => this.#group.send(piece, peer, tag)))
    await this.#group.recv(this.#part(0, 1), peer)
    return this.#clock.now() - startMs
  }

  async #announce(peer: number, elems: number, messages: number): Promise<void> {
    this.#view[0] = elems
    this.#view[1] = messages
    await this.#group.send(this.#part(0, 2), peer)
  }

  #pieces(elems: number, messages: number): TensorRegion[] {
    return Array.from({ length: messages }, (_, i) => this.#part(4 + i, elems))
  }

  #part(from: number, elems: number): TensorRegion {
    return { ...this.#region, byteOffset: this.#region.byteOffset + from * 4, elems }
  }
}

import {
  leastSlots,
  lower,
  peakHeld,
  receiveBuffers,
  type Schedule,
  type Simulation,
  vocabularyDepth,
} from '@skein/schedule'
import type { StageProfiles, VocabularyProfile } from './profile.ts'

/** Bytes that one rank needs for a step. */
export interface RankMemory {
  /** The most that all microbatches in flight keep. */
  readonly activations: number
  /** Buffers of messages that come, and of those on their way out. */
  readonly messages: number
  /** Parameters, gradients and moments. */
  readonly state: number
  readonly total: number
}

/** float32 parameters and both moments of AdamW twice (a step can be taken back), and the gradient: 7 times the parameters. */
export const stateFactor = 7

/** What was looked up, what logits are made of, and the gradients of both. */
const exchangesOfABoundary = 4

/** What a rank needs of messages for such lists, in messages: what a change of a schedule's passes leaves as it is. */
export interface MessageCounts {
  /** By rank and peer. */
  readonly receives: readonly ReadonlyMap<number, number>[]
  /** Of each link. */
  readonly sends: number
  /** Microbatches that the exchanges of a sharded vocabulary hold; 0 where it is whole. */
  readonly exchanges: number
}

export function messageCounts(schedule: Schedule): MessageCounts {
  return {
    receives: receiveBuffers(lower(schedule)),
    // One is filled while others are on their way.
    sends: leastSlots(schedule) + 1,
    exchanges: schedule.vocabulary === undefined ? 0 : vocabularyDepth(schedule),
  }
}

export function memoryOf(
  schedule: Schedule,
  ops: Simulation['ops'],
  stages: StageProfiles,
  { receives, sends, exchanges }: MessageCounts,
  vocabulary?: VocabularyProfile,
): readonly RankMemory[] {
  const activations = peakHeld(schedule, ops, stages.kept)
  const { boundaryBytes = 0, foundBytes = 0, parameterBytes: rowBytes = 0 } = vocabulary ?? {}
  const exchangeBytes = exchanges * (exchangesOfABoundary * boundaryBytes + schedule.ranks * foundBytes)
  return schedule.ops.map((_, rank) => {
    const messageBytes = bytesByPeer(schedule, rank, stages)
    let messages = exchangeBytes
    for (const [peer, bytes] of messageBytes) messages += bytes * ((receives[rank]?.get(peer) ?? 0) + sends)
    // With two pipes a rank holds stages of both; the same one once.
    const own = new Set(schedule.pipes.flatMap(places => [...places.keys()].filter(stage => places[stage] === rank)))
    const state = (parametersOf([...own], stages) + rowBytes) * stateFactor
    const held = activations[rank] as number
    return { activations: held, messages, state, total: held + messages + state }
  })
}

/** Of a rank with such stages: what several of them have is there once. */
function parametersOf(own: readonly number[], { parameterBytes, tied }: StageProfiles): number {
  const once = new Map(own.flatMap(stage => [...(tied[stage] ?? [])]))
  const sum = (values: Iterable<number>) => [...values].reduce((all, bytes) => all + bytes, 0)
  return sum(own.map(stage => parameterBytes[stage] ?? 0)) + sum(once.values())
}

/** The largest message between a rank and each other one. */
function bytesByPeer(schedule: Schedule, rank: number, { boundaryBytes }: StageProfiles): ReadonlyMap<number, number> {
  const largest = new Map<number, number>()
  for (const places of schedule.pipes) {
    for (const [stage, here] of places.entries()) {
      const there = places[stage + 1]
      if (there === undefined || here === there || (here !== rank && there !== rank)) continue
      const peer = here === rank ? there : here
      largest.set(peer, Math.max(largest.get(peer) ?? 0, (boundaryBytes[stage] ?? 0) / schedule.slices))
    }
  }
  return largest
}

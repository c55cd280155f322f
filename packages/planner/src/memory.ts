import {
  forwardSchedule,
  lower,
  peakHeld,
  receiveBuffers,
  type Schedule,
  type ScheduleOp,
  sendBuffers,
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

export function memoryOf(
  schedule: Schedule,
  ops: Simulation['ops'],
  stages: StageProfiles,
  vocabulary?: VocabularyProfile,
): readonly RankMemory[] {
  const counts = messageCounts(schedule)
  const activations = peakHeld(schedule, ops, stages.kept)
  const { boundaryBytes = 0, foundBytes = 0, parameterBytes: rowBytes = 0 } = vocabulary ?? {}
  const exchangeBytes = exchangesOfABoundary * boundaryBytes + schedule.ranks * foundBytes
  return schedule.ops.map((_, rank) => {
    const messages = Math.max(
      ...counts.map(({ pipes, buffers, exchanges }) => {
        const links = [...bytesByPeer(pipes, rank, stages)]
        const bytes = links.reduce((sum, [peer, largest]) => sum + largest * (buffers[rank]?.get(peer) ?? 0), 0)
        return bytes / schedule.slices + exchanges * exchangeBytes
      }),
    )
    // With two pipes a rank holds stages of both; the same one once.
    const own = new Set(schedule.pipes.flatMap(places => [...places.keys()].filter(stage => places[stage] === rank)))
    const state = (parametersOf([...own], stages) + rowBytes) * stateFactor
    const held = activations[rank] as number
    return { activations: held, messages, state, total: held + messages + state }
  })
}

/** What messages between the ranks need for such lists. */
interface MessageCounts {
  readonly pipes: Schedule['pipes']
  /** By rank and peer. */
  readonly buffers: readonly ReadonlyMap<number, number>[]
  /** Microbatches that the exchanges of a sharded vocabulary hold; 0 where it is whole. */
  readonly exchanges: number
}

/** For a step, and for an evaluation of as many microbatches: one is run at a time, in the same memory. */
function messageCounts(schedule: Schedule): readonly MessageCounts[] {
  return [schedule, forwardSchedule(schedule, schedule.microbatches)].map(one => {
    const lowered = lower(one)
    const receives = receiveBuffers(lowered)
    const sends = sendBuffers(one)
    return {
      pipes: one.pipes,
      buffers: lowered.ops.map((list, rank) => {
        const buffers = new Map(receives[rank])
        for (const peer of sendsTo(list)) buffers.set(peer, (buffers.get(peer) ?? 0) + sends)
        return buffers
      }),
      exchanges: one.vocabulary === undefined ? 0 : vocabularyDepth(one),
    }
  })
}

function sendsTo(list: readonly ScheduleOp[]): ReadonlySet<number> {
  return new Set(list.flatMap(op => (op.op === 'sendActivation' || op.op === 'sendGradient' ? [op.peer] : [])))
}

/** Of a rank with such stages: what several of them have is there once. */
function parametersOf(own: readonly number[], { parameterBytes, tied }: StageProfiles): number {
  const once = new Map(own.flatMap(stage => [...(tied[stage] ?? [])]))
  const sum = (values: Iterable<number>) => [...values].reduce((all, bytes) => all + bytes, 0)
  return sum(own.map(stage => parameterBytes[stage] ?? 0)) + sum(once.values())
}

/** The largest message between a rank and each other one, of a whole sequence. */
function bytesByPeer(
  pipes: Schedule['pipes'],
  rank: number,
  { boundaryBytes }: StageProfiles,
): ReadonlyMap<number, number> {
  const largest = new Map<number, number>()
  for (const places of pipes) {
    for (const [stage, here] of places.entries()) {
      const there = places[stage + 1]
      if (there === undefined || here === there || (here !== rank && there !== rank)) continue
      const peer = here === rank ? there : here
      largest.set(peer, Math.max(largest.get(peer) ?? 0, boundaryBytes[stage] ?? 0))
    }
  }
  return largest
}

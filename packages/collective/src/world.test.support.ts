import { type Clock, seededRandom, type SkeinError } from '@skein/core'
import { createSharedMemory, createSimd, SharedArena, type SharedMemory } from '@skein/simd'
import { createGroup, type Group } from './group.ts'
import { type LaneFault, MemoryLane, Scheduler } from './memory-lanes.test.support.ts'
import type { TensorRegion } from './region.ts'
import { scratchBytesFor } from './scratch-bytes.ts'

export interface WorldOptions {
  readonly ranks: number
  readonly seed: number
  readonly segmentBytes?: number
  readonly poolBytes?: number
  readonly urgent?: boolean
  readonly hosts?: readonly number[]
  readonly generation?: (rank: number) => number
  readonly fault?: LaneFault & { readonly from: number; readonly to: number }
  readonly memoryBytes?: number
  /** Whether a failure that one rank sees is told to the others, as the coordinator does. Default true. */
  readonly coordinated?: boolean
}

export interface Member {
  readonly group: Group
  readonly arena: SharedArena
  readonly failures: { readonly error: SkeinError; readonly peer: number }[]
}

/** All ranks of a group in this process, each with its own memory, joined by memory lanes. */
export class World {
  readonly scheduler: Scheduler
  readonly members: readonly Member[]
  /** What the ranks reported, in order. */
  readonly reports: SkeinError[] = []
  readonly lanes = new Map<string, MemoryLane>()
  nowMs = 0

  constructor(options: WorldOptions) {
    const { ranks, seed, segmentBytes = 1024, coordinated = true, memoryBytes = 1 << 18 } = options
    this.scheduler = new Scheduler(seededRandom(seed))
    const clock: Clock = { now: () => this.nowMs }
    const { poolBytes = 1 << 15, urgent = false, hosts } = options
    const scratchBytes = scratchBytesFor(ranks, { segmentBytes, poolBytes, urgent })
    this.members = Array.from({ length: ranks }, (_, rank) => {
      const memory: SharedMemory = createSharedMemory(memoryBytes + scratchBytes)
      const arena = new SharedArena(memory)
      const failures: Member['failures'] = []
      const group = createGroup({
        rank,
        worldSize: ranks,
        generation: options.generation?.(rank) ?? 7,
        memory,
        simd: createSimd(memory),
        scratch: arena.alloc('scratch', scratchBytes),
        segmentBytes,
        clock,
        urgent,
        ...(hosts === undefined ? {} : { hosts }),
        onFailure: (error, peer) => {
          failures.push({ error, peer })
          this.reports.push(error)
          if (coordinated) this.scheduler.later(() => this.abortAll(error))
        },
      })
      return { group, arena, failures }
    })
    for (let from = 0; from < ranks; from++) {
      for (let to = 0; to < ranks; to++) {
        if (from === to) continue
        for (let channel = 0; channel < (urgent ? 2 : 1); channel++) {
          const isFaulty = options.fault?.from === from && options.fault.to === to && channel === 0
          const fault = isFaulty ? options.fault : undefined
          const lane = new MemoryLane(from, to, this.member(to).group.sink(from, channel), this.scheduler, fault)
          this.lanes.set(channel === 0 ? `${from}→${to}` : `${from}→${to} urgent`, lane)
          // In any order, and maybe after the first ops.
          this.scheduler.later(() => this.member(from).group.attachWriter(lane.writer, { channel }))
          this.scheduler.later(() => this.member(to).group.attachReader(lane.reader, channel))
        }
      }
    }
  }

  member(rank: number): Member {
    return this.members[rank] as Member
  }

  lane(from: number, to: number): MemoryLane {
    return this.lanes.get(`${from}→${to}`) as MemoryLane
  }

  abortAll(error: SkeinError): void {
    for (const { group } of this.members) group.abort(error)
  }

  /** A region of the rank's memory that holds `values`. */
  region(rank: number, values: Float32Array): TensorRegion {
    const { arena } = this.member(rank)
    const { byteOffset } = arena.alloc('values', values.byteLength)
    const region: TensorRegion = { byteOffset, elems: values.length, dtype: 'float32' }
    this.view(rank, region).set(values)
    return region
  }

  /** A region of whole numbers. */
  intRegion(rank: number, values: readonly number[]): TensorRegion {
    const { byteOffset } = this.member(rank).arena.alloc('values', values.length * 4)
    const region: TensorRegion = { byteOffset, elems: values.length, dtype: 'int32' }
    this.intView(rank, region).set(values)
    return region
  }

  intView(rank: number, region: TensorRegion): Int32Array {
    return new Int32Array(this.member(rank).arena.memory.buffer, region.byteOffset, region.elems)
  }

  view(rank: number, region: TensorRegion): Float32Array {
    return new Float32Array(this.member(rank).arena.memory.buffer, region.byteOffset, region.elems)
  }

  /** Runs `op` on every rank, started at random times, until nothing moves; per rank what the op left, or its error. */
  async each<T>(op: (rank: number) => Promise<T>): Promise<readonly PromiseSettledResult<T>[]> {
    const started = this.members.map(
      (_, rank) =>
        new Promise<T>((resolve, reject) => {
          this.scheduler.later(() => {
            op(rank).then(resolve, reject)
          })
        }),
    )
    const settled = Promise.allSettled(started)
    await this.scheduler.run()
    return Promise.race([settled, pending(this)])
  }
}

/** Rejects in the next turn: what is not settled when nothing moves any more never will be. */
async function pending(world: World): Promise<never> {
  await new Promise(resolve => setImmediate(resolve))
  const logs = world.members.map(({ group }) => group.flightLog().filter(entry => entry.outcome === 'running'))
  throw new Error(`stuck: ${JSON.stringify(logs.map(entries => entries.map(e => `${e.kind} #${e.opSeq}`)))}`)
}

/** Normal values of many magnitudes, [n]. */
export function normals(n: number, ...keys: number[]): Float32Array {
  const random = seededRandom(n, ...keys)
  return Float32Array.from({ length: n }, () => random.nextNormal() * 10 ** (random.nextInt(7) - 3))
}
